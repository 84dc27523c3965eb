"""One run at a time owns a data directory, and it is private."""

import fcntl
import os
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.processes import gone, mode

from rescind_runtime.data_dir import DataDirectoryError
from rescind_runtime.local_system import home


async def test_a_second_run_is_refused_in_plain_words(tmp_path: Path) -> None:
    async with home.locked(tmp_path, longest_socket=10):
        with pytest.raises(DataDirectoryError, match=rf"in use by .*pid {os.getpid()}.*--data"):
            async with home.locked(tmp_path, longest_socket=10):
                pass
    async with home.locked(tmp_path, longest_socket=10):
        pass


def leave_a_straggler(directory: Path) -> subprocess.Popen[bytes]:
    """Be a run that was killed while one of its children still holds the lock, for a moment."""
    with subprocess.Popen(["/bin/true"]) as owner:
        owner.wait()
    (directory / "lock").write_text(f"{owner.pid}\n")
    with (directory / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return subprocess.Popen(["/bin/sleep", "0.3"], pass_fds=(held.fileno(),))


async def test_a_run_waits_for_processes_that_a_killed_one_left(tmp_path: Path) -> None:
    with leave_a_straggler(tmp_path) as straggler:
        async with home.locked(tmp_path, longest_socket=10):
            assert gone(straggler.pid)


async def test_sockets_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "run" / "x.sock"))
    async with home.locked(tmp_path, longest_socket=10) as place:
        assert list(place.sockets.iterdir()) == []
    assert not place.sockets.exists()


async def test_a_deep_directory_gets_a_short_place_for_its_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    async with home.locked(deep, longest_socket=24) as place:
        assert mode(place.sockets) == 0o700
        with socket.socket(socket.AF_UNIX) as fits:
            fits.bind(str(place.sockets / ("s" * 24)))
    assert not place.sockets.exists()


async def test_a_new_data_directory_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with home.locked(tmp_path / "new", longest_socket=10) as place:
        assert mode(place.directory) == 0o700
        assert mode(place.directory / "lock") == 0o600
