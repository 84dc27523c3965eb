"""`rescind doctor` on trust files: one that ended, or is older than what a sidecar has heard."""

from pathlib import Path

import pytest

from rescind_cli.doctor import trust
from rescind_cli.doctor.findings import Finding, Level
from rescind_cli.settings import LocalSettings
from rescind_runtime.clock import wall_us
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import Trust
from rescind_sidecar.trust_file import KeptTrust

ROOT, NEW_ROOT = bytes(range(32)), bytes(range(32, 64))
DAY_US = 86_400 * 1_000_000
NOW = Keyring.create(root=ROOT, now_us=wall_us(), life_us=30 * DAY_US)


def found(directory: Path, keyring: Keyring, kept: Keyring | None = None) -> list[Finding]:
    """Look at a directory with the trust file of one keyring, and a kept statement of another."""
    socket = directory / "search.sock"
    file = Trust(keyring.root, keyring.statement)
    file.write(directory / "trust")
    if kept is not None:
        heard = Trust(NOW.root, NOW.statement)
        heard.accept(kept.statement)
        KeptTrust(socket.with_suffix(".kept-trust")).keep(heard)
    return list(trust.check(LocalSettings(directory, {}, ({"RESCIND_SOCKET": str(socket)},))))


def test_a_good_trust_file_is_reported_with_its_serial_and_its_end(tmp_path: Path) -> None:
    (only,) = found(tmp_path, NOW, NOW)
    assert (only.level, "serial 1, valid until" in only.message) == (Level.OK, True)


@pytest.mark.parametrize("ahead_us", [-31 * DAY_US, 2 * DAY_US])
def test_a_statement_that_ended_or_a_clock_that_is_wrong_fails(
    tmp_path: Path, ahead_us: int
) -> None:
    keyring = Keyring.create(root=ROOT, now_us=wall_us() + ahead_us, life_us=30 * DAY_US)
    (only,) = found(tmp_path, keyring)
    assert only.level is Level.FAILED
    assert "Copy the authority's trust file" in only.advice


def test_a_statement_without_an_end_is_a_warning(tmp_path: Path) -> None:
    (only,) = found(tmp_path, Keyring.create(root=ROOT, now_us=wall_us()))
    assert (only.level, "keys renew" in only.advice) == (Level.WARNING, True)


@pytest.mark.parametrize("rerooted", [False, True])
def test_a_trust_file_older_than_the_statement_of_the_sidecar_is_a_warning(
    tmp_path: Path, *, rerooted: bool
) -> None:
    newer = NOW.retired(("records",), root=ROOT, now_us=wall_us())
    if rerooted:
        newer = newer.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=wall_us())
    _, kept = found(tmp_path, NOW, newer)
    assert (kept.level, kept.part) == (Level.WARNING, "kept statement of search")
    assert f"received {newer.serial}" in kept.message
    assert len(found(tmp_path, newer, newer)) == 1


def test_a_kept_statement_that_cannot_be_read_fails_before_the_sidecar_does(tmp_path: Path) -> None:
    found(tmp_path, NOW, NOW)
    (tmp_path / "search.kept-trust").write_text("{")
    _, kept = found(tmp_path, NOW)
    assert (kept.level, "delete" in kept.advice) == (Level.FAILED, True)


def test_without_a_trust_file_the_check_is_skipped(tmp_path: Path) -> None:
    (only,) = trust.check(LocalSettings(tmp_path, {}, ({},)))
    assert only.level is Level.SKIPPED
