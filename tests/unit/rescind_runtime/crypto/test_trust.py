"""Trust statements: when they end, what replaces them, and what of an attacker's is never taken."""

from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from rescind.wire import signed_envelope, trust_statement
from rescind.wire.codec import MAX_ORDINAL
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import KINDS, MASTER, OVERLAP_US, SEALING, Keyring
from rescind_runtime.crypto.trust import MAX_LIFE_US, TOLERANCE_US, KeyringError, Trust

ROOT, NEW_ROOT, NEWEST_ROOT = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
NOW_US = 1_767_225_600_000_000
LIFE_US = 30 * 86_400 * 1_000_000
CONTENT = b"what is signed"
SIGNING = [purpose for purpose in Purpose if purpose is not Purpose.TRUST]


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring.create(root=ROOT, now_us=NOW_US, life_us=LIFE_US)


def trusting(keyring: Keyring) -> Trust:
    """Trust as a sidecar does: from what is public."""
    return Trust(keyring.root, keyring.statement)


def with_serial(keyring: Keyring, serial: int) -> Keyring:
    """Sign as a thief of the root key can: the same keys under any number."""
    signed, links = trust_statement.decode_envelope(keyring.statement)
    content = trust_statement.encode(replace(trust_statement.decode(signed.content), serial=serial))
    signature = (
        SigningKey(ROOT).sign(trust_statement.signed_bytes(Purpose.TRUST, content)).signature
    )
    envelope = trust_statement.encode_envelope(
        SignedEnvelope(content, signed.key_id, signature), links
    )
    return Keyring(keyring._private, statement=envelope, root=keyring.root)


def signed_by(keyring: Keyring) -> list[tuple[Purpose, SignedEnvelope]]:
    return [(purpose, keyring.sign(purpose, CONTENT)) for purpose in SIGNING]


def test_a_statement_is_valid_until_its_end_and_not_before_it_was_made(keyring: Keyring) -> None:
    believes = trusting(keyring)
    for now_us in (NOW_US - TOLERANCE_US, NOW_US, NOW_US + LIFE_US - 1):
        assert believes.problem(now_us) is None
    assert "ended" in str(believes.problem(NOW_US + LIFE_US))
    assert "is wrong" in str(believes.problem(NOW_US - TOLERANCE_US - 1))
    assert "is wrong" in str(believes.problem(0))
    assert "ended" in str(believes.problem(1 << 62))  # a clock that says no date at all


def test_a_statement_of_an_older_authority_has_no_end() -> None:
    believes = trusting(Keyring.create(root=ROOT, now_us=NOW_US))
    assert believes.not_after_us is None
    assert [believes.problem(now_us) for now_us in (0, NOW_US, 1 << 62)] == [None] * 3


def test_an_older_reader_that_does_not_know_ends_and_links_reads_a_newer_statement(
    keyring: Keyring,
) -> None:
    newer = keyring.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)
    signed = signed_envelope.decode(
        newer.statement
    )  # as such a reader does: the rest is passed over
    statement = trust_statement.decode(signed.content)
    assert (statement.serial, len(statement.keys)) == (2, len(SIGNING))


def test_no_statement_is_valid_for_longer_than_a_year(keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="366 days"):
        keyring.restated(root=ROOT, now_us=NOW_US, life_us=MAX_LIFE_US + 1)


def test_a_statement_that_ended_or_is_from_the_future_is_not_accepted(keyring: Keyring) -> None:
    newer = keyring.restated(root=ROOT, now_us=NOW_US)
    for now_us in (NOW_US + LIFE_US, NOW_US - TOLERANCE_US - 1):
        believes = trusting(keyring)
        with pytest.raises(KeyringError):
            believes.accept(newer.statement, now_us=now_us)
        assert believes.serial == 1
    assert trusting(keyring).accept(newer.statement, now_us=NOW_US)


def test_a_statement_that_ended_is_replaced_by_the_next_one(keyring: Keyring) -> None:
    """So a sidecar that was cut off, or stopped, for longer than a life recovers by itself."""
    believes, later_us = trusting(keyring), NOW_US + 10 * LIFE_US
    assert believes.problem(later_us) is not None
    assert believes.accept(keyring.restated(root=ROOT, now_us=later_us).statement, now_us=later_us)
    assert believes.problem(later_us) is None


def test_the_second_of_two_statements_with_one_serial_is_refused(keyring: Keyring) -> None:
    one, other = (keyring.rotated("events", root=ROOT, now_us=NOW_US) for _ in range(2))
    believes = trusting(one)
    with pytest.raises(KeyringError, match="two trust statements have the number 2"):
        believes.accept(other.statement)
    assert believes.signed_statement == one.statement
    # The way out: a newer one.
    assert believes.accept(other.restated(root=ROOT, now_us=NOW_US).statement)


def test_two_renewals_with_one_serial_are_one_and_the_longer_one_counts(keyring: Keyring) -> None:
    one, later = (keyring.restated(root=ROOT, now_us=NOW_US + late) for late in (0, 5))
    believes = trusting(one)
    assert believes.accept(later.statement)
    assert not believes.accept(one.statement)
    assert believes.not_after_us == NOW_US + 5 + LIFE_US


def test_every_kind_of_key_rotates_and_what_was_made_before_stays_good(keyring: Keyring) -> None:
    old = trusting(keyring)
    box, made = old.encrypt_for_authority(CONTENT), signed_by(keyring)
    rotated = keyring
    for number, kind in enumerate(KINDS, start=1):
        rotated = rotated.rotated(kind, root=ROOT, now_us=NOW_US + number * OVERLAP_US)
    believes = trusting(rotated)
    assert believes.serial == 1 + len(KINDS)
    assert all(believes.verify(*each) for each in made)
    assert rotated.open(box) == rotated.open(believes.encrypt_for_authority(CONTENT)) == CONTENT
    assert keyring.open(believes.encrypt_for_authority(CONTENT)) is None
    assert set(keyring.masters) < set(rotated.masters)


def test_a_new_master_key_is_used_once_all_can_know_it(keyring: Keyring) -> None:
    rotated = keyring.rotated(MASTER, root=ROOT, now_us=NOW_US)
    rotated.advance(NOW_US + OVERLAP_US - 1)
    assert rotated.master == keyring.master
    rotated.advance(NOW_US + OVERLAP_US)
    assert rotated.masters == (rotated.master, keyring.master)
    assert rotated.master != keyring.master


def test_a_renewal_does_not_put_a_key_out_of_use(keyring: Keyring) -> None:
    rotated = keyring.rotated("events", root=ROOT, now_us=NOW_US)
    later_us = NOW_US + 5 * OVERLAP_US
    renewed = rotated.restated(root=ROOT, now_us=later_us)
    for each in (rotated, renewed):
        each.advance(later_us)
    assert renewed.sign(Purpose.EVENTS, b"x") == rotated.sign(Purpose.EVENTS, b"x")
    assert renewed.settled(later_us)


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_a_retired_key_is_invalid_at_once(keyring: Keyring, kind: str) -> None:
    kinds = KINDS if kind == "all" else (kind,)
    stolen = keyring.rotated("events", root=ROOT, now_us=NOW_US)
    box, made = (
        trusting(stolen).encrypt_for_authority(CONTENT),
        signed_by(keyring) + signed_by(stolen),
    )
    retired = stolen.retired(kinds, root=ROOT, now_us=NOW_US)
    believes = trusting(stolen)
    assert believes.accept(retired.statement)
    for purpose, signed in made:
        assert believes.verify(purpose, signed) is (purpose not in kinds)
    for purpose, signed in signed_by(retired):
        assert believes.verify(purpose, signed)
    assert (retired.open(box) is None) is (SEALING in kinds)
    assert set(retired.masters).isdisjoint(stolen.masters) is (MASTER in kinds)
    gone = {(each.kind, each.key_id) for each in believes.retired}
    assert {name for name, _ in gone} == set(kinds)
    # A statement of the thief's keyring, whatever it is, is older.
    assert not believes.accept(stolen.statement)


def test_a_statement_names_no_key_that_it_calls_retired() -> None:
    keyring = Keyring.create(root=ROOT, now_us=NOW_US)
    retired = keyring.retired(("events",), root=ROOT, now_us=NOW_US)
    again = retired.rotated("events", root=ROOT, now_us=NOW_US)
    assert len(again.trust.keys) == len(SIGNING) + 1


def test_a_holder_of_the_former_root_key_follows_its_rotation(keyring: Keyring) -> None:
    second = keyring.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)
    third = second.rerooted(root=NEW_ROOT, new_root=NEWEST_ROOT, now_us=NOW_US)
    for holder in (keyring, second):  # also after one was missed
        believes = trusting(holder)
        assert believes.accept(third.statement)
        assert believes.root == third.root
        assert believes.verify(Purpose.EVENTS, third.sign(Purpose.EVENTS, CONTENT))


def test_after_following_to_a_new_root_key_the_former_one_is_never_accepted_again(
    keyring: Keyring,
) -> None:
    """The serials of a thief of the former root key count for nothing, however high they are."""
    poisoned = with_serial(keyring, MAX_ORDINAL)
    believes = trusting(poisoned)
    second = keyring.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)
    assert believes.accept(second.statement)
    assert believes.serial == 2
    stolen = keyring.retired(KINDS, root=ROOT, now_us=NOW_US)
    fork = keyring.rerooted(root=ROOT, new_root=NEWEST_ROOT, now_us=NOW_US)
    for theirs in (poisoned, stolen, fork):
        with pytest.raises(KeyringError):
            believes.accept(theirs.statement)
    assert believes.root == second.root


def test_a_serial_that_no_heartbeat_could_carry_is_refused(keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="over 2\\^62"):
        with_serial(keyring, MAX_ORDINAL + 1)


def test_a_link_that_another_root_key_signed_is_refused(keyring: Keyring) -> None:
    other = Keyring.create(root=NEW_ROOT, now_us=NOW_US)
    theirs = other.rerooted(root=NEW_ROOT, new_root=NEWEST_ROOT, now_us=NOW_US)
    with pytest.raises(KeyringError, match="not signed by the root key"):
        trusting(keyring).accept(theirs.statement)


def test_after_the_links_are_dropped_a_former_root_key_cannot_follow(keyring: Keyring) -> None:
    second = keyring.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)
    ended = second.unlinked(root=NEW_ROOT, now_us=NOW_US)
    with pytest.raises(KeyringError):
        trusting(keyring).accept(ended.statement)
    assert trusting(second).accept(ended.statement)


def test_a_keyring_of_every_rotation_is_read_as_it_was_written(
    keyring: Keyring, tmp_path: Path
) -> None:
    path = tmp_path / "keyring"
    changed = keyring.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=NOW_US)
    for kind in KINDS:
        changed = changed.rotated(kind, root=NEW_ROOT, now_us=NOW_US)
    changed.write(path)
    again = Keyring.read(path)
    assert (again.statement, again.root, again.links) == (
        changed.statement,
        changed.root,
        changed.links,
    )
    assert (again.masters, again.known()) == (changed.masters, changed.known())
    assert again.open(trusting(keyring).encrypt_for_authority(CONTENT)) == CONTENT


def test_a_keyring_whose_statement_is_about_other_keys_is_refused(
    keyring: Keyring, tmp_path: Path
) -> None:
    path, other = tmp_path / "keyring", Keyring.create(root=ROOT, now_us=NOW_US)
    keyring.write(path)
    path.write_text(path.read_text().replace(keyring.statement.hex(), other.statement.hex()))
    with pytest.raises(KeyringError):
        Keyring.read(path)
