"""Every message as bytes. An edit here breaks a fleet in mid-upgrade: append, never edit."""

import msgpack
import pytest
from tests.support.messages import SAMPLES, Sample

from rescind.wire import heartbeat, socket_protocol

_INSTANCE = "c410000102030405060708090a0b0c0d0e0f"
_NONCE = "c410101112131415161718191a1b1c1d1e1f"
_BOOT = "c410202122232425262728292a2b2c2d2e2f"
_HEAD = "c420404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
_NEXT_HEAD = "c420606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
_HASH = "c420808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
_POSITION = f"03ce00011170{_HEAD}"
_TOKEN_ID = "be746f6b5f30316b647664736467303030306734307234306d333065323039"

_PUBLIC = "c420303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f"

_RECEIPT = (
    "01be7265765f30316b647664736467303030306734307234306d333065323039"
    "03ce00011171cf0006474846204000cf0006474846204fa0"
    f"919501{_INSTANCE}a6736561726368ac61636b6e6f776c6564676564cd0f3c"
    f"919401{_NONCE}a762696c6c696e67cf0006474849b3c700"
)
_EVENT = (
    "9c0103ce00011171cf0006474846204000"
    "be7265765f30316b647664736467303030306734307234306d333065323039a66e6172726f77"
    "92af636861696e3a6167656e743a626f74ad6c6162656c3a7465616d3dc3a9"
    "cf00064748402a5f00c0"
    "92aa746f6f6c733a63616c6caa66696c65733a72656164"
    "b06c6566742074686520636f6d70616e79a961646d696e3a616461"
)
_BARE_EVENT = "9c01010100a57265765f31a67265766f6b6591a12ac0c090a0a0"

_STATEMENT = (
    "0102cf0006474846204000"
    "c420505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f"
    f"929301a66576656e7473{_PUBLIC}"
    "9301a77265636f726473c420707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
)
_TELLING = f"{_RECEIPT}92c492{_EVENT}c41a{_BARE_EVENT}"
_UNKNOWN_GRACE = "cf000647486bad4980"
_COUNTS = (
    "ce000182b8cd03846401cf0006474849b3c700"
    "929701a6736561726368ce000182b8cd03846400cd0f3c9701a762696c6c696e670000000100"
    f"0092{_HEAD}{_NEXT_HEAD}"
)

PINNED = {
    "receipt": f"98{_RECEIPT}",
    "receipt, telling": f"99{_TELLING}",
    "receipt, unknown grace": f"9a{_RECEIPT}c0{_UNKNOWN_GRACE}",
    "receipt, telling, unknown grace": f"9a{_TELLING}{_UNKNOWN_GRACE}",
    "receipt, hit": f"9b{_TELLING}c003",
    "receipt, summary": f"9a02c5013c99{_TELLING}{_COUNTS}",
    "receipt, unknown grace, summary": (f"9a02c501459a{_TELLING}{_UNKNOWN_GRACE}{_COUNTS}"),
    "event": _EVENT,
    "event, bare": _BARE_EVENT,
    "event, lift": (
        "9d0103ce00011172cf0006474846204001be7265765f30316b647664736467303030306734307234306d"
        "333065323061a46c69667492af636861696e3a6167656e743a626f74ad6c6162656c3a7465616d3dc3a9"
        "cf00064748402a5f00c090ac69742063616d65206261636ba961646d696e3a616461be7265765f30316b"
        "647664736467303030306734307234306d333065323039"
    ),
    "batch": (f"9401c400c400c458970103ce00011171{_HEAD}{_NEXT_HEAD}c392c4036f6e65c40374776f"),
    "sealed": "9401c4036b6579c4067369676e6564c407636f6e74656e74",
    "record": (
        f"9401c400c400c50140dc001501{_HASH}03ce00011170{_TOKEN_ID}"
        "a56167656e74b06167656e743a626f742f736561726368"
        "92aa66696c65733a72656164aa746f6f6c733a63616c6c92a762696c6c696e67a6736561726368"
        "cf00064748402a5f00ce0001116fcf00064748402a5f00cf0006474916be0300"
        "94a12aaf636861696e3a6167656e743a626f74aa6b696e643a6167656e74"
        "d924746f6b656e3a746f6b5f30316b647664736467303030306734307234306d333065323039"
        "919401a57265765f31a66e6172726f770c"
        "a461636d65a3636c69a3732d319192a47465616da2c3a9"
        "91be746f6b5f30316b647664736467303030303030303030303030303030306191a96167656e743a626f74"
    ),
    "record, bare": (
        f"9401c400c400c450dc001501{_HASH}0100a5746f6b5f31a773657276696365"
        "a9736572766963653a6190900000000191a12a90c0c0c0909090"
    ),
    "record, narrowed": (
        "9401c400c400c5015ddc001602c420808182838485868788898a8b8c8d8e8f90919293949596"
        "9798999a9b9c9d9e9f03ce00011170be746f6b5f30316b647664736467303030306734307234"
        "306d333065323039a56167656e74b06167656e743a626f742f73656172636892aa66696c6573"
        "3a72656164aa746f6f6c733a63616c6c92a762696c6c696e67a6736561726368cf0006474840"
        "2a5f00ce0001116fcf00064748402a5f00cf0006474916be030094a12aaf636861696e3a6167"
        "656e743a626f74aa6b696e643a6167656e74d924746f6b656e3a746f6b5f30316b6476647364"
        "67303030306734307234306d333065323039919401a57265765f31a66e6172726f770ca46163"
        "6d65a3636c69a3732d319192a47465616da2c3a991be746f6b5f30316b647664736467303030"
        "303030303030303030303030306191a96167656e743a626f7492a766696c65733a2ab3746f6f"
        "6c733a63616c6c3a6769746875622f2a"
    ),
    "record, conditioned": (
        "9401c400c400c50172dc001803c420808182838485868788898a8b8c8d8e8f90919293949596"
        "9798999a9b9c9d9e9f03ce00011170be746f6b5f30316b647664736467303030306734307234"
        "306d333065323039a56167656e74b06167656e743a626f742f73656172636892aa66696c6573"
        "3a72656164aa746f6f6c733a63616c6c92a762696c6c696e67a6736561726368cf0006474840"
        "2a5f00ce0001116fcf00064748402a5f00cf0006474916be030094a12aaf636861696e3a6167"
        "656e743a626f74aa6b696e643a6167656e74d924746f6b656e3a746f6b5f30316b6476647364"
        "67303030306734307234306d333065323039919401a57265765f31a66e6172726f770ca46163"
        "6d65a3636c69a3732d319192a47465616da2c3a991be746f6b5f30316b647664736467303030"
        "303030303030303030303030306191a96167656e743a626f749092aa31302e302e302e302f38"
        "ad323030313a6462383a3a2f33329292a6726567696f6ea2657592a474696572a470726f64"
    ),
    "record, ended": (
        "9401c400c400c5015ddc001501c420808182838485868788898a8b8c8d8e8f90919293949596"
        "9798999a9b9c9d9e9f03ce00011170be746f6b5f30316b647664736467303030306734307234"
        "306d333065323039a56167656e74b06167656e743a626f742f73656172636892aa66696c6573"
        "3a72656164aa746f6f6c733a63616c6c92a762696c6c696e67a6736561726368cf0006474840"
        "2a5f00ce0001116fcf00064748402a5f00cf0006474916be030094a12aaf636861696e3a6167"
        "656e743a626f74aa6b696e643a6167656e74d924746f6b656e3a746f6b5f30316b6476647364"
        "67303030306734307234306d333065323039939401a57265765f32a5656e646564ce0001116f"
        "9401a57265765f31a66e6172726f770c9401a0a5656e64656400a461636d65a3636c69a3732d"
        "319192a47465616da2c3a991be746f6b5f30316b647664736467303030303030303030303030"
        "303030306191a96167656e743a626f74"
    ),
    "check, from an address": "970406a97273635f6167745f7890c000a93139322e302e322e37",
    "greeting, labelled": (
        "970101a8636865636b6f7574c410000102030405060708090a0b0c0d0e0fc410202122232425"
        "262728292a2b2c2d2e2fa67374726963749192a6726567696f6ea26575"
    ),
    "resolve": f"9201{_HASH}",
    "resolved": "940103ce00011170c4067265636f7264",
    "resolved, unknown": "940103ce00011170c0",
    "resolve, presented": (
        f"9601{_HASH}{_NONCE}ce00011170cf0006474846204000"
        "c420303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f"
    ),
    "resolve, of a hash alone": f"9601{_HASH}{_NONCE}c0c0c0",
    "resolved, to a nonce": f"960103ce00011170c4067265636f7264{_NONCE}{_HASH}",
    "resolved, unknown, to a nonce": f"960103ce00011170c0{_NONCE}{_HASH}",
    "resolved, not now": f"9302{_NONCE}{_HASH}",
    "heartbeat": (
        f"9b01{_INSTANCE}{_NONCE}07{_POSITION}"
        "a8636865636b6f7574a66e6f64652d31a5302e312e30a6737472696374"
    ),
    "heartbeat, first": (
        f"9b01{_INSTANCE}{_NONCE}000000c400"
        "a8636865636b6f7574a66e6f64652d31a5302e312e30a6737472696374"
    ),
    "release": f"9302{_INSTANCE}08",
    "heartbeat, trailing": (
        f"9c01{_INSTANCE}{_NONCE}07{_POSITION}"
        f"a8636865636b6f7574a66e6f64652d31a5302e312e30a673747269637492{_NONCE}{_INSTANCE}"
    ),
    "heartbeat, first, trailing": (
        f"9c01{_INSTANCE}{_NONCE}000000c400"
        "a8636865636b6f7574a66e6f64652d31a5302e312e30a673747269637490"
    ),
    "release, trailing": f"9402{_INSTANCE}0891{_NONCE}",
    "no lease": f"9502{_INSTANCE}{_NONCE}ce00011170c3",
    "ack, trailing": f"9701{_INSTANCE}09{_POSITION}91{_NONCE}",
    "reply": (f"9a01{_INSTANCE}{_NONCE}{_POSITION}cd2710cf000647484620400091c4036f6e6502"),
    "ack": f"9601{_INSTANCE}09{_POSITION}",
    "wanted": "930103ce00011171",
    "since": "930103ce00011170",
    "events": "93010392c4036f6e65c40374776f",
    "trust statement": (
        "950102cf0006474846204000"
        "c420505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f"
        f"929301a66576656e7473{_PUBLIC}"
        "9301a77265636f726473c420707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
    ),
    "trust statement, bare": f"95010100{_PUBLIC}90",
    "trust statement, ending": (
        f"97{_STATEMENT}cf000649a3c55d8000919301a66d6173746572c4083031323334353637"
    ),
    "trust statement, endless, of retired keys": (
        f"97{_STATEMENT}c0919301a77265636f726473c4080000000000000000"
    ),
    "link between root keys": f"9302{_PUBLIC}cf0006474846204000",
    "signed trust statement, of links": (
        f"9501c4080000000000000000c440{'00' * 64}c407636f6e74656e7492c4046c696e6bc407616e6f74686572"
    ),
    "heartbeat, telling its statement": (
        f"9d01{_INSTANCE}{_NONCE}000000c400"
        f"a8636865636b6f7574a66e6f64652d31a5302e312e30a673747269637491{_NONCE}03"
    ),
    "heartbeat, telling its statement alone": (
        f"9d01{_INSTANCE}{_NONCE}000000c400"
        "a8636865636b6f7574a66e6f64652d31a5302e312e30a6737472696374c000"
    ),
    "reply, with a statement": (
        f"9c01{_INSTANCE}{_NONCE}{_POSITION}cd2710cf00064748462040009003c40973746174656d656e74c3"
    ),
    "enrolment, refused with a statement": f"9402{_NONCE}a26e6fc40973746174656d656e74",
    "enrolment": f"9401{_PUBLIC}{_NONCE}c403626f78",
    "credential": f"9501a97273635f7376635f78a8636865636b6f7574{_INSTANCE}{_NONCE}",
    "credential, of a posture": (
        f"9601a97273635f7376635f78a8636865636b6f7574{_INSTANCE}{_NONCE}a6737472696374"
    ),
    "enrolment, granted": f"9601{_NONCE}{_INSTANCE}03c40973746174656d656e74c403626f78",
    "enrolment, refused": (
        f"9302{_NONCE}d9207468652063726564656e7469616c206973206e6f74206b6e6f776e2068657265"
    ),
    "belongings": (
        f"9301{_HASH}92c4206465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283{_HEAD}"
    ),
    "used": f"9301{_INSTANCE}92{_TOKEN_ID}a5746f6b5f31",
    "used, at a time": f"9401{_INSTANCE}92{_TOKEN_ID}a5746f6b5f31cf0006474846204000",
    "offer": f"9301{_INSTANCE}c4056261746368",
    "offer, taken": "9201c3",
    "clock": "920201",
    "look": "940302a97273635f6167745f7800",
    "look, demanding": "940302a97273635f6167745f78ce00011170",
    "look, by hash": f"940b02{_HASH}ce00011170",
    "check, by hash": f"970c03{_HASH}91aa746f6f6c733a63616c6cc000a93139322e302e322e37",
    "check": "960403a97273635f6167745f7891aa746f6f6c733a63616c6ca673656172636800",
    "check, own audience": "960404a97273635f6167745f7890c000",
    "check, demanding": "960405a97273635f6167745f7890c0ce00011170",
    "greeting": f"960101a8636865636b6f7574{_INSTANCE}{_BOOT}a6737472696374",
    "now": "940501cf0000001cbe991a08cd2328",
    "now, refused": (
        "950501cf0000001cbe991a0800ba7468652063726564656e7469616c20776173207265766f6b6564"
    ),
    "entry": (f"990602{_INSTANCE}c4067265636f726492cd0200ce000111709200030500cf0000010000000000"),
    "refused": f"940702{_INSTANCE}a77265766f6b6564",
    "verdict, allowed": f"970803{_INSTANCE}c0c4067265636f7264ce00011170cd04b0",
    "verdict, with the token's own times": (
        f"980803{_INSTANCE}c0c4067265636f7264ce00011170cd04b0ce0036ee80"
    ),
    "verdict, denied": f"970803{_INSTANCE}a86e6f5f6c65617365c00000",
    "watch": "920906",
    "changed": "930a06ce00011170",
}

every_message = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


# Fields at the end that a sample's sender leaves out, and a later one would write as nil.
_LEFT_OUT = {
    "receipt": 3,
    "receipt, telling": 2,
    "heartbeat": 2,
    "heartbeat, first": 2,
    "reply": 2,
    "trust statement": 2,
    "trust statement, bare": 2,
    "resolve": 4,
    "resolved": 2,
    "resolved, unknown": 2,
} | dict.fromkeys(
    (
        "receipt, unknown grace",
        "receipt, telling, unknown grace",
        "event",
        "event, bare",
        "check",
        "check, own audience",
        "credential",
        "check, demanding",
        "greeting",
        "now",
        "heartbeat, trailing",
        "heartbeat, first, trailing",
        "enrolment, refused",
        "release",
        "ack",
        "used",
        "verdict, allowed",
        "verdict, denied",
    ),
    1,
)


def test_every_sample_is_pinned() -> None:
    assert PINNED.keys() == {sample.name for sample in SAMPLES}


@every_message
def test_the_bytes_of_a_message_never_change(sample: Sample) -> None:
    assert sample.encode(sample.message).hex() == PINNED[sample.name]


@every_message
@pytest.mark.parametrize("container", [bytes, bytearray, memoryview])
def test_a_message_comes_back_whole_from_any_buffer(sample: Sample, container: type) -> None:
    payload = container(bytes.fromhex(PINNED[sample.name]))
    assert sample.decode(payload) == sample.message


@every_message
def test_an_unknown_field_at_the_end_is_ignored(sample: Sample) -> None:
    fields = msgpack.unpackb(bytes.fromhex(PINNED[sample.name]))
    fields += [None] * _LEFT_OUT.get(sample.name, 0)
    for extra in (None, 1, "new", b"new", [1, ["nested"]], True, 1.5):
        assert sample.decode(msgpack.packb([*fields, extra])) == sample.message


@pytest.mark.parametrize("name", ["record", "batch"])
def test_an_unknown_field_inside_the_envelope_is_ignored(name: str) -> None:
    (sample,) = (sample for sample in SAMPLES if sample.name == name)
    *envelope, content = msgpack.unpackb(bytes.fromhex(PINNED[name]))
    extended = msgpack.packb([*msgpack.unpackb(content), "new"])
    assert sample.decode(msgpack.packb([*envelope, extended])) == sample.message


def test_an_unknown_field_of_a_hold_is_ignored() -> None:
    (sample,) = (sample for sample in SAMPLES if sample.name == "record")
    *envelope, content = msgpack.unpackb(bytes.fromhex(PINNED["record"]))
    fields = msgpack.unpackb(content)
    fields[14] = [[*hold, "new"] for hold in fields[14]]
    assert sample.decode(msgpack.packb([*envelope, msgpack.packb(fields)])) == sample.message


def test_the_message_to_enrol_again_has_no_fields() -> None:
    assert heartbeat.ENROL_AGAIN.hex() == "9101"


def test_a_frame_is_a_length_of_four_bytes_and_the_message() -> None:
    assert socket_protocol.encode_request(socket_protocol.Clock(1)).hex() == "00000003920201"
    assert socket_protocol.encode_response(socket_protocol.Now(1, 5)).hex() == "000000059405010500"


def test_a_request_of_an_older_workload_without_a_demanded_position_is_read() -> None:
    look = bytes.fromhex("930302a97273635f6167745f78")
    assert socket_protocol.decode_request(look) == socket_protocol.Look(2, "rsc_agt_x", 0)
    check = bytes.fromhex("950404a97273635f6167745f7890c0")
    assert socket_protocol.decode_request(check) == socket_protocol.Check(
        4, "rsc_agt_x", (), None, 0
    )


def test_a_reply_of_an_older_authority_without_a_trust_serial_has_none() -> None:
    before = f"9901{_INSTANCE}{_NONCE}{_POSITION}cd2710cf000647484620400091c4036f6e65"
    assert heartbeat.decode_reply(bytes.fromhex(before)).trust_serial == 0


def test_an_answer_of_an_older_sidecar_without_its_lease_has_none() -> None:
    assert socket_protocol.decode_response(bytes.fromhex("93050105")) == socket_protocol.Now(
        1, 5, 0
    )
