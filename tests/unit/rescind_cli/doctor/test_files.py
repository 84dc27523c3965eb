"""`rescind doctor` checks the data directory, and where the root key is stored."""

from pathlib import Path

import pytest

from rescind_cli.doctor import files
from rescind_cli.doctor.findings import Finding, Level
from rescind_cli.settings import LocalSettings


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o700, "ok"), (0o711, "warning"), (0o755, "warning"), (0o775, "failed"), (0o777, "failed")],
)
def test_a_directory_that_up_accepts_fails_only_where_others_may_change_it(
    tmp_path: Path, mode: int, level: str
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    found = {each.part: each for each in files.check(LocalSettings(directory, {}, ({},)))}
    judged = found["data directory"]
    assert judged.level == level
    assert judged.advice.startswith(f"chmod 0700 {directory}") == (level != "ok")


def root_key_finding(directory: Path, **settings: str) -> Finding:
    """Return the finding about the root key."""
    (found,) = (
        each
        for each in files.check(LocalSettings(directory, {}, (settings,)))
        if each.part == "root key file"
    )
    return found


def write_private_file(path: Path) -> Path:
    """Write a file that only its owner may read."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("0" * 64)
    path.chmod(0o600)
    return path


def test_a_root_key_beside_the_keyring_is_a_warning(tmp_path: Path) -> None:
    write_private_file(tmp_path / "keyring")
    write_private_file(tmp_path / "root-key")
    found = root_key_finding(tmp_path)
    assert (found.level, "RESCIND_ROOT_KEY_FILE" in found.advice) == (Level.WARNING, True)


@pytest.mark.parametrize("linked", [False, True])
def test_a_root_key_that_settings_name_beside_the_keyring_is_a_warning(
    tmp_path: Path, *, linked: bool
) -> None:
    keyring, root = (
        write_private_file(tmp_path / "keys" / "ring"),
        write_private_file(tmp_path / "keys" / "root"),
    )
    if linked:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "root").symlink_to(root)
        root = tmp_path / "elsewhere" / "root"
    found = root_key_finding(
        tmp_path, RESCIND_KEYRING_FILE=str(keyring), RESCIND_ROOT_KEY_FILE=str(root)
    )
    assert found.level is Level.WARNING


def test_a_root_key_elsewhere_is_good(tmp_path: Path) -> None:
    write_private_file(tmp_path / "keyring")
    assert root_key_finding(tmp_path).level is Level.OK
    offline = write_private_file(tmp_path / "offline" / "root-key")
    assert root_key_finding(tmp_path, RESCIND_ROOT_KEY_FILE=str(offline)).level is Level.OK


def test_a_root_key_that_others_may_read_fails(tmp_path: Path) -> None:
    write_private_file(tmp_path / "keyring")
    write_private_file(tmp_path / "root-key").chmod(0o640)
    assert root_key_finding(tmp_path).level is Level.FAILED


def test_a_local_system_keeps_both_in_its_directory(tmp_path: Path) -> None:
    for name in ("keyring", "root-key", "env"):
        write_private_file(tmp_path / name)
    assert root_key_finding(tmp_path).level is Level.OK


def test_a_host_without_a_keyring_has_no_root_key_to_check(tmp_path: Path) -> None:
    write_private_file(tmp_path / "root-key")
    assert root_key_finding(tmp_path).level is Level.SKIPPED
