"""Who is believed: what a statement may say, and what a signature covers."""

import msgpack
import pytest
from tests.support.messages import PUBLIC, STATEMENT

from rescind.errors import MalformedMessageError
from rescind.wire import enrolment, trust_statement
from rescind.wire.trust_statement import Purpose


def test_no_two_purposes_cover_the_same_bytes() -> None:
    covered = {trust_statement.signed_bytes(purpose, b"content") for purpose in Purpose}
    assert len(covered) == len(Purpose)
    assert trust_statement.signed_bytes(Purpose.EVENTS, b"x") == b"rescind:events\0x"


def test_no_purpose_and_content_are_another_purpose_with_other_content() -> None:
    # A name that began another one could borrow its first bytes of content.
    prefixes = [trust_statement.signed_bytes(purpose, b"") for purpose in Purpose]
    for one in prefixes:
        assert sum(other.startswith(one) for other in prefixes) == 1


def test_a_key_is_named_by_8_bytes_of_its_hash() -> None:
    assert trust_statement.key_id(PUBLIC).hex() == "d9c2e699586b948f"


def test_an_instance_is_named_by_16_bytes_of_its_key_s_hash() -> None:
    assert enrolment.instance_of(PUBLIC).hex() == "d9c2e699586b948f4022c7994ffe14c6"


def test_a_key_for_an_unknown_purpose_is_left_out() -> None:
    tag, serial, at, sealing, keys = msgpack.unpackb(trust_statement.encode(STATEMENT))
    content = msgpack.packb([tag, serial, at, sealing, [*keys, [1, "weather", PUBLIC]]])
    assert trust_statement.decode(content) == STATEMENT


def test_a_statement_names_no_other_root_key() -> None:
    tag, serial, at, sealing, _ = msgpack.unpackb(trust_statement.encode(STATEMENT))
    with pytest.raises(MalformedMessageError, match="no other root key"):
        trust_statement.decode(msgpack.packb([tag, serial, at, sealing, [[1, "trust", PUBLIC]]]))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_malformed(length: int) -> None:
    tag, serial, at, sealing, _ = msgpack.unpackb(trust_statement.encode(STATEMENT))
    for wrong in (
        [tag, serial, at, bytes(length), []],
        [tag, serial, at, sealing, [[1, "events", bytes(length)]]],
    ):
        with pytest.raises(MalformedMessageError):
            trust_statement.decode(msgpack.packb(wrong))


def test_the_repr_of_a_credential_shows_no_secret() -> None:
    credential = enrolment.decode_credential(
        msgpack.packb([1, "rsc_svc_secret", "checkout", bytes(16), bytes(16)])
    )
    assert "secret" not in repr(credential).replace("<secret>", "")
