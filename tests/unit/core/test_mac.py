"""The MAC of an instance: who may speak for it, in which direction, in which epoch."""

import pytest

from rescind.core import mac

MASTER = bytes(range(32))
INSTANCE = bytes(range(16))
SECRET = mac.instance_secret(MASTER, epoch=3, instance=INSTANCE)
CONTENT = b"a heartbeat"


def test_the_secret_and_the_mac_never_change():
    # A fleet in mid-upgrade has authorities of both versions: a change here locks sidecars out.
    assert SECRET.hex() == "b63531cb40f743dba004ccbfd4b4e60db5ca025c4757406eeb244a5910ac82a8"
    tags = [mac.tag(SECRET, way, CONTENT).hex() for way in (mac.TO_AUTHORITY, mac.TO_SIDECAR)]
    assert tags == [
        "8236fd2228cad5a76813c5314ccd2b836015fc71b34934f0518d58254ca19708",
        "44a88da24b4a95582ce8d74ebb0b9ee4011cbe9d5716c2e028509d827cc3bd9e",
    ]


@pytest.mark.parametrize(
    "other",
    [
        mac.instance_secret(MASTER, epoch=4, instance=INSTANCE),
        mac.instance_secret(MASTER, epoch=3, instance=INSTANCE[:-1] + b"\0"),
        mac.instance_secret(bytes(32), epoch=3, instance=INSTANCE),
    ],
    ids=["epoch", "instance", "master"],
)
def test_another_epoch_instance_or_master_is_another_secret(other: bytes):
    assert other != SECRET
    assert not mac.genuine(other, mac.TO_AUTHORITY, CONTENT, _tag())


def test_a_message_is_not_sent_back_to_whom_it_came_from():
    assert mac.genuine(SECRET, mac.TO_AUTHORITY, CONTENT, _tag())
    assert not mac.genuine(SECRET, mac.TO_SIDECAR, CONTENT, _tag())


@pytest.mark.parametrize("place", range(len(CONTENT)))
def test_a_byte_of_the_content_that_differs_is_another_message(place: int):
    wrong = bytearray(CONTENT)
    wrong[place] ^= 1
    assert not mac.genuine(SECRET, mac.TO_AUTHORITY, bytes(wrong), _tag())


@pytest.mark.parametrize("place", range(mac.MAC_BYTES))
def test_a_byte_of_the_mac_that_differs_is_no_mac(place: int):
    wrong = bytearray(_tag())
    wrong[place] ^= 1
    assert not mac.genuine(SECRET, mac.TO_AUTHORITY, CONTENT, bytes(wrong))


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_mac_of_another_length_is_no_mac(length: int):
    claimed = (_tag() + b"\0")[:length]
    assert not mac.genuine(SECRET, mac.TO_AUTHORITY, CONTENT, claimed)


def _tag() -> bytes:
    return mac.tag(SECRET, mac.TO_AUTHORITY, CONTENT)
