"""The newest trust statement outlasts a restart: an old trust file brings no old key back."""

from pathlib import Path

import pytest

from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import KeyringError, Trust
from rescind_sidecar.trust_file import KeptTrust
from rescind_sidecar.trust_store import UpdatingTrustStore

ROOT, NEW_ROOT, OTHER_ROOT = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
NOW_US = 1_767_225_600_000_000
OLD = Keyring.create(root=ROOT, now_us=NOW_US)
NEW = OLD.retired(("enrolment", "sealing"), root=ROOT, now_us=NOW_US)
NEWEST = NEW.restated(root=ROOT, now_us=NOW_US)
REROOTED = NEW.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)


def file_of(keyring: Keyring) -> Trust:
    """Return what stands in the trust file of an authority."""
    return Trust(keyring.root, keyring.statement)


def start(kept: Path, keyring: Keyring) -> UpdatingTrustStore:
    """Start a sidecar with the trust file of this keyring."""
    store = KeptTrust(kept)
    trust = store.newest(file_of(keyring), source=Path("trust"))
    return UpdatingTrustStore(trust, wall_us=lambda: NOW_US, store=store)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "search.kept-trust"


def test_an_old_trust_file_does_not_replace_a_newer_stored_statement(kept: Path) -> None:
    trust_store = start(kept, OLD)
    assert trust_store.accept(NEW.statement)
    for _ in range(2):  # and not at the second restart either
        assert start(kept, OLD).serial == NEW.serial


def test_a_newer_trust_file_counts_and_is_stored_from_then_on(kept: Path) -> None:
    start(kept, OLD)
    assert start(kept, NEW).serial == NEW.serial
    assert start(kept, OLD).serial == NEW.serial


def test_the_kept_file_is_private_and_never_half_written(kept: Path) -> None:
    start(kept, NEW)
    assert kept.stat().st_mode & 0o777 == 0o600
    # What a crash left of a file that was being written.
    kept.with_name(f".{kept.name}.new").write_text("{")
    assert start(kept, OLD).serial == NEW.serial
    assert start(kept, NEWEST).serial == NEWEST.serial


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"roots": [], "statement": ""}',
        b'{"roots": ["00"], "statement": "00"}',
        b'{"roots": 1, "statement": 2}',
        b'{"roots": [null], "statement": "00"}',
    ],
)
def test_an_unreadable_stored_file_causes_no_fallback_to_an_older_trust_file(
    kept: Path, content: bytes
) -> None:
    start(kept, NEW)
    kept.write_bytes(content)
    with pytest.raises(KeyringError) as refusal:
        start(kept, OLD)
    says = str(refusal.value)
    assert str(kept) in says
    assert "delete" in says
    assert kept.read_bytes() == content  # nothing was changed


def test_a_kept_file_with_a_changed_byte_is_refused(kept: Path) -> None:
    start(kept, NEW)
    whole = kept.read_text()
    at = whole.index(NEW.statement.hex()) + 80
    kept.write_text(whole[:at] + ("0" if whole[at] != "0" else "1") + whole[at + 1 :])
    with pytest.raises(KeyringError, match="delete"):
        start(kept, OLD)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_kept_file_that_others_may_write_is_refused(kept: Path, mode: int) -> None:
    start(kept, NEW)
    kept.chmod(mode)
    with pytest.raises(KeyringError, match="others than its owner"):
        start(kept, NEW)


def test_a_link_or_a_directory_in_place_of_the_stored_file_is_refused(
    kept: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    start(elsewhere, OLD)
    kept.symlink_to(elsewhere)
    with pytest.raises(KeyringError, match="delete"):
        start(kept, OLD)
    kept.unlink()
    kept.mkdir()
    with pytest.raises(KeyringError, match="delete"):
        start(kept, OLD)


def test_the_trust_file_of_another_installation_counts(kept: Path) -> None:
    """Who puts another root key there means it: the kept statement is not about that one."""
    start(kept, NEW)
    other = Keyring.create(root=OTHER_ROOT, now_us=NOW_US)
    assert start(kept, other).serial == other.serial


def test_a_former_root_key_in_the_trust_file_does_not_replace_its_successor(kept: Path) -> None:
    trust_store = start(kept, NEW)
    assert trust_store.accept(REROOTED.statement)
    for holder in (OLD, NEW, REROOTED):
        again = start(kept, holder)
        assert again.serial == REROOTED.serial
        assert not again.accept(NEWEST.statement)


def test_a_trust_file_leads_by_its_links_from_the_kept_root_key_to_a_new_one(kept: Path) -> None:
    start(kept, NEW)
    assert start(kept, REROOTED).serial == REROOTED.serial
    assert not start(kept, REROOTED).accept(NEWEST.statement)


def test_after_the_links_are_dropped_only_the_new_trust_file_counts(
    kept: Path,
) -> None:
    start(kept, NEW)  # and then it is off until the former root key is retired
    unlinked = REROOTED.unlinked(root=NEW_ROOT, now_us=NOW_US)
    assert not start(kept, NEW).accept(unlinked.statement)
    assert start(kept, unlinked).serial == unlinked.serial


def test_a_statement_that_cannot_be_written_counts_and_is_written_at_the_next_chance(
    kept: Path,
) -> None:
    trust_store = start(kept, OLD)
    fresh = kept.with_name(f".{kept.name}.new")
    fresh.mkdir()  # as a directory that cannot be written, for root as well
    assert trust_store.accept(NEW.statement)
    assert trust_store.serial == NEW.serial
    fresh.rmdir()
    assert not trust_store.accept(NEW.statement)  # nothing new: another enrolment brings it again
    assert start(kept, OLD).serial == NEW.serial


def test_the_second_of_two_statements_with_one_serial_is_neither_accepted_nor_stored(
    kept: Path,
) -> None:
    twin = OLD.rotated("events", root=ROOT, now_us=NOW_US)
    trust_store = start(kept, NEW)
    assert not trust_store.accept(twin.statement)
    assert start(kept, twin).serial == NEW.serial
    assert start(kept, OLD).accept(NEWEST.statement)


def test_the_trust_file_itself_is_never_written_over(kept: Path) -> None:
    file_of(OLD).write(kept)
    before = kept.read_bytes()
    with pytest.raises(KeyringError, match="RESCIND_KEPT_TRUST_FILE"):
        KeptTrust(kept).newest(file_of(OLD), source=kept)
    assert kept.read_bytes() == before
