"""The ports of keys and randomness, of the authority and of the sidecar.

The authority's Keys, EdgeKeys and Entropy, and the sidecar's TrustStore, InstanceKeys and
RandomSource: the simulation's free ones, and the real ones.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.simulation import trust
from tests.support.clocks import ManualClock

from rescind.wire import trust_statement
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import ReloadingEdgeKeys
from rescind_authority.keys.reloading_keyring import ReloadingKeyring
from rescind_authority.ports.keys import EdgeKeys, Entropy, Keys
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import Trust
from rescind_sidecar.ports import InstanceKeys, RandomSource, TrustStore
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore

NOW_US = 1_800_000_000_000_000
CONTENT = b"what is signed"
SIGNED = (Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS, Purpose.ENROLMENT)


@dataclass(frozen=True)
class Trusted:
    """The keys of an installation, and what a sidecar knows of them."""

    keys: Keys
    edge_keys: EdgeKeys
    entropy: Entropy
    trust_store: TrustStore
    instance_keys: InstanceKeys
    random_source: RandomSource


@pytest.fixture(params=["memory", "keyring", "file"])
def trusted(request: pytest.FixtureRequest, tmp_path: Path) -> Trusted:
    """Return free keys of the simulation, those of a keyring, or those of its file."""
    made: Mapping[str, Callable[[Path], Trusted]] = {
        "memory": lambda _: _in_memory(),
        "keyring": lambda folder: _real(folder, from_file=False),
        "file": lambda folder: _real(folder, from_file=True),
    }
    return made[request.param](tmp_path)


def _in_memory() -> Trusted:
    return Trusted(
        trust.Keys(),
        trust.EdgeKeys(),
        trust.RandomSource("entropy"),
        trust.TrustStore(),
        trust.RandomSource("instances"),
        trust.RandomSource("dice"),
    )


def _real(folder: Path, *, from_file: bool) -> Trusted:
    clock, keyring = ManualClock(now_us=NOW_US), Keyring.create(root=bytes(32), now_us=NOW_US)
    keyring = keyring.with_rows(adopting=False)
    keyring.write(folder / "keyring")
    secret_files.create_edge_key(folder / "edge-key")
    known = keyring.trust
    return Trusted(
        ReloadingKeyring(folder / "keyring", clock) if from_file else keyring,
        ReloadingEdgeKeys(folder / "edge-key", clock),
        secrets.token_bytes,
        UpdatingTrustStore(Trust(known.root, known.signed_statement), wall_us=clock.wall_us),
        FreshKeys(),
        SystemRandomSource(),
    )


# Signatures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", SIGNED)
def test_a_signature_is_valid_only_for_its_purpose(trusted: Trusted, purpose: Purpose) -> None:
    signed = trusted.keys.sign(purpose, CONTENT)
    assert signed.content == CONTENT
    for verify in (trusted.keys.verify, trusted.trust_store.verify):
        assert [each for each in SIGNED if verify(each, signed)] == [purpose]


def test_a_signature_is_not_good_for_another_content(trusted: Trusted) -> None:
    signed = replace(trusted.keys.sign(Purpose.RECORDS, CONTENT), content=CONTENT + b"!")
    assert not trusted.keys.verify(Purpose.RECORDS, signed)
    assert not trusted.trust_store.verify(Purpose.RECORDS, signed)


@pytest.mark.parametrize("signature", [b"", bytes(64)])
def test_what_was_not_signed_is_not_verified(trusted: Trusted, signature: bytes) -> None:
    signed = replace(trusted.keys.sign(Purpose.RECORDS, CONTENT), signature=signature)
    assert not trusted.keys.verify(Purpose.RECORDS, signed)
    assert not trusted.trust_store.verify(Purpose.RECORDS, signed)


def test_a_signature_under_the_name_of_an_unknown_key_is_not_verified(trusted: Trusted) -> None:
    known = trusted.keys.sign(Purpose.RECORDS, CONTENT)
    signed = replace(known, key_id=bytes(each ^ 1 for each in known.key_id))
    assert not trusted.trust_store.verify(Purpose.RECORDS, signed)
    assert not trusted.trust_store.knows(Purpose.RECORDS, signed)
    assert trusted.trust_store.knows(Purpose.RECORDS, known)


def test_a_key_is_known_by_its_name_whatever_it_signed(trusted: Trusted) -> None:
    known = trusted.keys.sign(Purpose.RECORDS, CONTENT)
    forged = SignedEnvelope(b"forged", known.key_id, bytes(64))
    assert trusted.trust_store.knows(Purpose.RECORDS, forged)


# Boxes -------------------------------------------------------------------------------------------


def test_the_authority_opens_what_a_sidecar_encrypted_for_it(trusted: Trusted) -> None:
    assert trusted.keys.open(trusted.trust_store.encrypt_for_authority(CONTENT)) == CONTENT


@pytest.mark.parametrize("box", [b"", b"no box", bytes(200)])
def test_the_authority_opens_nothing_else(trusted: Trusted, box: bytes) -> None:
    assert trusted.keys.open(box) is None


def test_an_instance_opens_what_was_encrypted_for_it_and_no_other_does(trusted: Trusted) -> None:
    mine, other = trusted.instance_keys.fresh(), trusted.instance_keys.fresh()
    box = trusted.keys.encrypt_for(mine.public, CONTENT)
    assert mine.open(box) == CONTENT
    assert other.open(box) is None


@pytest.mark.parametrize("box", [b"", b"no box", bytes(200)])
def test_an_instance_opens_nothing_else(trusted: Trusted, box: bytes) -> None:
    assert trusted.instance_keys.fresh().open(box) is None


def test_two_instances_have_two_public_keys(trusted: Trusted) -> None:
    publics = {trusted.instance_keys.fresh().public for _ in range(20)}
    assert len(publics) == 20
    assert {len(each) for each in publics} == {trust_statement.KEY_BYTES}


# The statement -----------------------------------------------------------------------------------


def test_a_sidecar_that_has_the_statement_adopts_it_no_second_time(trusted: Trusted) -> None:
    assert trusted.trust_store.serial == trusted.keys.serial
    assert not trusted.trust_store.accept(trusted.keys.statement)
    assert trusted.trust_store.serial == trusted.keys.serial


@pytest.mark.parametrize("statement", [b"", b"no statement", bytes(200)])
def test_what_is_no_statement_changes_nothing(trusted: Trusted, statement: bytes) -> None:
    before = trusted.trust_store.serial, trusted.trust_store.retirements
    assert not trusted.trust_store.accept(statement)
    assert (trusted.trust_store.serial, trusted.trust_store.retirements) == before
    assert trusted.trust_store.problem() is None


# Secrets and randomness --------------------------------------------------------------------------


def test_masters_and_keys_of_rows_have_the_length_of_a_key(trusted: Trusted) -> None:
    for keys in (trusted.keys.masters, trusted.keys.rows):
        assert keys
        assert {len(each) for each in keys} == {trust_statement.KEY_BYTES}


def test_the_key_that_tags_new_tokens_is_among_those_that_are_accepted(trusted: Trusted) -> None:
    assert trusted.edge_keys.minting in trusted.edge_keys.accepted
    assert {len(each) for each in trusted.edge_keys.accepted} == {trust_statement.KEY_BYTES}


@pytest.mark.parametrize("length", [1, 16, 32])
def test_entropy_has_the_requested_length_and_does_not_repeat(
    trusted: Trusted, length: int
) -> None:
    assert len(trusted.entropy(length)) == length
    assert len({trusted.entropy(16) for _ in range(100)}) == 100


def test_identities_have_sixteen_bytes_and_do_not_repeat(trusted: Trusted) -> None:
    drawn = {trusted.random_source.identity() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(each) for each in drawn} == {16}


def test_jitter_is_a_factor_from_0_8_to_1_2_that_varies(trusted: Trusted) -> None:
    drawn = [trusted.random_source.jitter() for _ in range(100)]
    assert all(0.8 <= each <= 1.2 for each in drawn)
    assert len(set(drawn)) > 1
