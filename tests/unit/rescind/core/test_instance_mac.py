"""The MAC of an instance: who may speak for it, in which direction, in which epoch."""

import pytest

from rescind.core import instance_mac

MASTER = bytes(range(32))
INSTANCE = bytes(range(16))
SECRET = instance_mac.instance_secret(MASTER, epoch=3, instance=INSTANCE)
CONTENT = b"a heartbeat"


def test_the_secret_and_the_mac_never_change() -> None:
    # A fleet in mid-upgrade has authorities of both versions: a change here locks sidecars out.
    assert SECRET.hex() == "b63531cb40f743dba004ccbfd4b4e60db5ca025c4757406eeb244a5910ac82a8"
    tags = [
        instance_mac.tag(SECRET, way, CONTENT).hex()
        for way in (instance_mac.TO_AUTHORITY, instance_mac.TO_SIDECAR)
    ]
    assert tags == [
        "8236fd2228cad5a76813c5314ccd2b836015fc71b34934f0518d58254ca19708",
        "44a88da24b4a95582ce8d74ebb0b9ee4011cbe9d5716c2e028509d827cc3bd9e",
    ]


@pytest.mark.parametrize(
    "other",
    [
        instance_mac.instance_secret(MASTER, epoch=4, instance=INSTANCE),
        instance_mac.instance_secret(MASTER, epoch=3, instance=INSTANCE[:-1] + b"\0"),
        instance_mac.instance_secret(bytes(32), epoch=3, instance=INSTANCE),
    ],
    ids=["epoch", "instance", "master"],
)
def test_another_epoch_instance_or_master_key_gives_another_secret(other: bytes) -> None:
    assert other != SECRET
    assert not instance_mac.genuine(other, instance_mac.TO_AUTHORITY, CONTENT, _tag())


def test_a_mac_is_valid_in_one_direction_only() -> None:
    assert instance_mac.genuine(SECRET, instance_mac.TO_AUTHORITY, CONTENT, _tag())
    assert not instance_mac.genuine(SECRET, instance_mac.TO_SIDECAR, CONTENT, _tag())


@pytest.mark.parametrize("place", range(len(CONTENT)))
def test_a_mac_is_invalid_for_a_changed_byte_of_the_content(place: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[place] ^= 1
    assert not instance_mac.genuine(SECRET, instance_mac.TO_AUTHORITY, bytes(wrong), _tag())


@pytest.mark.parametrize("place", range(instance_mac.MAC_BYTES))
def test_a_mac_with_a_changed_byte_is_invalid(place: int) -> None:
    wrong = bytearray(_tag())
    wrong[place] ^= 1
    assert not instance_mac.genuine(SECRET, instance_mac.TO_AUTHORITY, CONTENT, bytes(wrong))


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_mac_of_another_length_is_invalid(length: int) -> None:
    claimed = (_tag() + b"\0")[:length]
    assert not instance_mac.genuine(SECRET, instance_mac.TO_AUTHORITY, CONTENT, claimed)


def test_a_veiled_value_cannot_be_read_with_another_secret_or_nonce() -> None:
    nonce, value = bytes(16), bytes(range(32))
    masked = instance_mac.mask(SECRET, nonce, value)
    assert instance_mac.mask(SECRET, nonce, masked) == value
    other = instance_mac.instance_secret(MASTER, epoch=4, instance=INSTANCE)
    for shown in (
        masked,
        instance_mac.mask(SECRET, bytes(15) + b"1", masked),
        instance_mac.mask(other, nonce, masked),
    ):
        assert shown != value
    with pytest.raises(ValueError, match="zip"):
        instance_mac.mask(SECRET, nonce, value[:-1])


def test_a_veil_is_not_a_valid_mac_in_either_direction() -> None:
    pad = instance_mac.mask(SECRET, CONTENT, bytes(instance_mac.MAC_BYTES))
    assert not instance_mac.genuine(SECRET, instance_mac.TO_AUTHORITY, CONTENT, pad)
    assert not instance_mac.genuine(SECRET, instance_mac.TO_SIDECAR, CONTENT, pad)


def _tag() -> bytes:
    return instance_mac.tag(SECRET, instance_mac.TO_AUTHORITY, CONTENT)
