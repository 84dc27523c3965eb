"""Keys, signatures and boxes: what is believed, and what never is."""

import json
from pathlib import Path

import pytest

from rescind.errors import MalformedMessageError
from rescind.wire import signed_envelope, trust_statement
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import InstanceKey, Keyring
from rescind_runtime.crypto.trust import KeyringError, Trust

ROOT, OTHER_ROOT = bytes(range(32)), bytes(range(32, 64))
NOW_US = 1_767_225_600_000_000
CONTENT = b"what is signed"
SIGNING = [purpose for purpose in Purpose if purpose is not Purpose.TRUST]
VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "signatures.json").read_text())


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring.create(root=ROOT, now_us=NOW_US)


def trusting(keyring: Keyring) -> Trust:
    """Trust as a sidecar does: from what is public."""
    return Trust(keyring.root, keyring.statement)


@pytest.mark.parametrize("purpose", SIGNING)
def test_a_signature_is_valid_only_for_its_purpose(keyring: Keyring, purpose: Purpose) -> None:
    signed = keyring.sign(purpose, CONTENT)
    for other in Purpose:
        assert trusting(keyring).verify(other, signed) is (other is purpose)


def test_no_byte_of_an_envelope_may_differ(keyring: Keyring) -> None:
    believes = trusting(keyring)
    envelope = signed_envelope.encode(keyring.sign(Purpose.EVENTS, CONTENT))
    for place in range(len(envelope)):
        for flipped in (1, 0x80, 0xFF):
            wrong = bytearray(envelope)
            wrong[place] ^= flipped
            assert not _believed(believes, bytes(wrong)), f"byte {place}"


def test_an_envelope_cut_anywhere_is_refused(keyring: Keyring) -> None:
    believes = trusting(keyring)
    envelope = signed_envelope.encode(keyring.sign(Purpose.EVENTS, CONTENT))
    assert not any(_believed(believes, envelope[:length]) for length in range(len(envelope)))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), bytes(1000)])
@pytest.mark.parametrize("name", ["ours", "nobody's", "empty"])
def test_an_invalid_signature_is_refused(keyring: Keyring, signature: bytes, name: str) -> None:
    ours = keyring.sign(Purpose.EVENTS, CONTENT).key_id
    key_id = {"ours": ours, "nobody's": bytes(8), "empty": b""}[name]
    assert not trusting(keyring).verify(Purpose.EVENTS, SignedEnvelope(CONTENT, key_id, signature))


def test_a_signature_of_another_keyring_is_refused_even_with_the_right_key_id(
    keyring: Keyring,
) -> None:
    other = Keyring.create(root=ROOT, now_us=NOW_US)
    ours, theirs = (ring.sign(Purpose.EVENTS, CONTENT) for ring in (keyring, other))
    assert not trusting(keyring).verify(Purpose.EVENTS, theirs)
    renamed = SignedEnvelope(CONTENT, ours.key_id, theirs.signature)
    assert not trusting(keyring).verify(Purpose.EVENTS, renamed)


def test_the_root_key_signs_nothing_but_statements(keyring: Keyring) -> None:
    statement = signed_envelope.decode(keyring.statement)
    assert not any(trusting(keyring).verify(purpose, statement) for purpose in Purpose)


def test_two_keyrings_share_no_secret() -> None:
    one, other = (Keyring.create(root=ROOT, now_us=NOW_US) for _ in range(2))
    assert one.master != other.master
    assert other.open(trusting(one).encrypt_for_authority(b"for one")) is None
    assert one.open(trusting(one).encrypt_for_authority(b"for one")) == b"for one"


def test_a_box_that_was_altered_does_not_open(keyring: Keyring) -> None:
    box = trusting(keyring).encrypt_for_authority(b"credential")
    for place in range(len(box)):
        wrong = bytearray(box)
        wrong[place] ^= 1
        assert keyring.open(bytes(wrong)) is None
    assert all(keyring.open(box[:length]) is None for length in range(len(box)))


def test_a_box_encrypted_for_an_instance_opens_only_for_that_instance(keyring: Keyring) -> None:
    ours, other = InstanceKey(), InstanceKey()
    box = keyring.encrypt_for(ours.public, b"secret")
    assert (ours.open(box), other.open(box), keyring.open(box)) == (b"secret", None, None)


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_public_key_of_small_order_gets_no_secret(keyring: Keyring, public: bytes) -> None:
    # The shared secret of such a key is public. libsodium refuses it, and `encrypt_for` must too.
    with pytest.raises(MalformedMessageError):
        keyring.encrypt_for(public, b"secret")


def test_a_newer_statement_is_accepted_and_an_older_one_never_again(keyring: Keyring) -> None:
    believes = trusting(keyring)
    newer = keyring.rotated(Purpose.EVENTS, root=ROOT, now_us=NOW_US)
    newest = newer.rotated(Purpose.EVENTS, root=ROOT, now_us=NOW_US)
    assert believes.accept(newest.statement)
    for older in (keyring.statement, newer.statement, newest.statement):
        assert not believes.accept(older)
    assert believes.serial == 3


def test_a_statement_of_another_root_changes_nothing(keyring: Keyring) -> None:
    believes = trusting(keyring)
    other = Keyring.create(root=OTHER_ROOT, now_us=NOW_US)
    forged = other.rotated(Purpose.EVENTS, root=OTHER_ROOT, now_us=NOW_US).statement
    wrong = bytearray(keyring.rotated(Purpose.EVENTS, root=ROOT, now_us=NOW_US).statement)
    wrong[-1] ^= 1
    for statement in (forged, bytes(wrong), b"", b"\x94", keyring.statement[:-1]):
        with pytest.raises(KeyringError):
            believes.accept(statement)
    assert believes.serial == 1
    assert believes.verify(Purpose.EVENTS, keyring.sign(Purpose.EVENTS, CONTENT))


def test_a_keyring_is_not_rotated_under_another_root(keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="another keyring"):
        keyring.rotated(Purpose.EVENTS, root=OTHER_ROOT, now_us=NOW_US)


def test_a_rotation_renews_one_purpose_and_the_key_before_stays_good(keyring: Keyring) -> None:
    rotated = keyring.rotated(Purpose.EVENTS, root=ROOT, now_us=NOW_US)
    believes = trusting(rotated)
    for purpose in SIGNING:
        assert believes.verify(purpose, keyring.sign(purpose, CONTENT))
        assert believes.verify(purpose, rotated.sign(purpose, CONTENT))
    again = trusting(rotated.rotated(Purpose.EVENTS, root=ROOT, now_us=NOW_US))
    assert not again.verify(Purpose.EVENTS, keyring.sign(Purpose.EVENTS, CONTENT))


def test_a_keyring_comes_back_from_its_file_and_only_its_owner_reads_it(
    keyring: Keyring, tmp_path: Path
) -> None:
    path = tmp_path / "keyring"
    keyring.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = Keyring.read(path)
    assert again.master == keyring.master
    assert trusting(keyring).verify(Purpose.RECORDS, again.sign(Purpose.RECORDS, CONTENT))


def test_the_trust_file_holds_nothing_secret(keyring: Keyring, tmp_path: Path) -> None:
    secret, public = tmp_path / "keyring", tmp_path / "trust"
    keyring.write(secret)
    keyring.trust.write(public)
    held = json.loads(secret.read_text())
    secrets = [held["master"], held["sealing"], *(seed for _, seed in held["keys"])]
    assert not any(text in public.read_text() for text in secrets)
    assert Trust.read(public).verify(Purpose.EVENTS, keyring.sign(Purpose.EVENTS, CONTENT))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"root": 1}', '{"root": "zz", "statement": ""}', "\xff", "not json"],
)
def test_a_file_that_is_not_a_keyring_is_refused_with_a_clear_error(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    for kind in (Keyring, Trust):
        with pytest.raises(KeyringError, match="keys"):
            kind.read(path)


_MAY_BE_EMPTY = ("masters_before", "sealings_before", "rows")


def test_a_damaged_keyring_is_refused_and_never_quoted(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "keyring"
    keyring.write(path)
    whole = json.loads(path.read_text())
    right = [("rotated_at_us", 1), *((name, []) for name in _MAY_BE_EMPTY)]
    for name in whole:
        for wrong in (None, 1, "00", "zz", [], [["events", "00"]], [["weather", "00" * 32]]):
            if (name, wrong) in right:
                continue
            path.write_text(json.dumps(whole | {name: wrong}))
            with pytest.raises(KeyringError) as refusal:
                Keyring.read(path)
            assert whole["master"] not in str(refusal.value)


def test_the_vectors_for_other_languages_verify() -> None:
    root, statement = (bytes.fromhex(VECTORS["root_public"]), VECTORS["statement"])
    believes = Trust(root, bytes.fromhex(statement["envelope"]))
    for vector in VECTORS["signatures"]:
        signed = signed_envelope.decode(bytes.fromhex(vector["envelope"]))
        purpose = Purpose(vector["purpose"])
        assert trust_statement.signed_bytes(purpose, signed.content).hex() == vector["covers"]
        assert believes.verify(purpose, signed) is (purpose is not Purpose.TRUST)


def test_no_key_is_printed(keyring: Keyring) -> None:
    assert keyring.master.hex() not in repr(keyring)


def _believed(believes: Trust, envelope: bytes) -> bool:
    try:
        signed = signed_envelope.decode(envelope)
    except MalformedMessageError:
        return False
    return believes.verify(Purpose.EVENTS, signed)
