"""Who is believed: what a statement may say, and what a signature covers."""

import msgpack
import pytest
from tests.support.messages import PUBLIC, STATEMENT

from rescind.errors import MalformedMessageError
from rescind.wire import enrolment, trust
from rescind.wire.trust import Purpose


def test_no_two_purposes_cover_the_same_bytes():
    covered = {trust.signed_bytes(purpose, b"content") for purpose in Purpose}
    assert len(covered) == len(Purpose)
    assert trust.signed_bytes(Purpose.EVENTS, b"x") == b"rescind:events\0x"


def test_no_purpose_and_content_are_another_purpose_with_other_content():
    # A name that began another one could borrow its first bytes of content.
    prefixes = [trust.signed_bytes(purpose, b"") for purpose in Purpose]
    for one in prefixes:
        assert sum(other.startswith(one) for other in prefixes) == 1


def test_a_key_is_named_by_8_bytes_of_its_hash():
    assert trust.key_id(PUBLIC).hex() == "d9c2e699586b948f"


def test_an_instance_is_named_by_16_bytes_of_its_key_s_hash():
    assert enrolment.instance_of(PUBLIC).hex() == "d9c2e699586b948f4022c7994ffe14c6"


def test_a_key_for_a_purpose_of_the_future_is_left_out():
    tag, serial, at, sealing, keys = msgpack.unpackb(trust.encode(STATEMENT))
    content = msgpack.packb([tag, serial, at, sealing, [*keys, [1, "weather", PUBLIC]]])
    assert trust.decode(content) == STATEMENT


def test_a_statement_names_no_other_root_key():
    tag, serial, at, sealing, _ = msgpack.unpackb(trust.encode(STATEMENT))
    with pytest.raises(MalformedMessageError, match="no other root key"):
        trust.decode(msgpack.packb([tag, serial, at, sealing, [[1, "trust", PUBLIC]]]))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_malformed(length: int):
    tag, serial, at, sealing, _ = msgpack.unpackb(trust.encode(STATEMENT))
    for wrong in (
        [tag, serial, at, bytes(length), []],
        [tag, serial, at, sealing, [[1, "events", bytes(length)]]],
    ):
        with pytest.raises(MalformedMessageError):
            trust.decode(msgpack.packb(wrong))


def test_a_credential_is_printed_nowhere():
    credential = enrolment.decode_credential(
        msgpack.packb([1, "rsc_svc_secret", "checkout", bytes(16), bytes(16)])
    )
    assert "secret" not in repr(credential).replace("<secret>", "")
