"""Keys are rotated while events and look-ups go on: nothing is refused, nobody is locked out."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.authority.test_tampering import scene
from tests.support.authority import System

from rescind import Allowed
from rescind.wire import sealed
from rescind.wire.trust import Purpose
from rescind_authority import keys, preparing
from rescind_authority.errors import KeyFileError
from rescind_authority.live_keyring import LiveKeyring
from rescind_runtime import signing
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import OVERLAP_US, Keyring, KeyringError


async def test_a_rotation_under_traffic_refuses_no_event_and_no_record(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 4_000_000)
    async with scene(system, tmp_path) as stage:
        names = set[bytes]()
        for purpose in (Purpose.EVENTS, Purpose.RECORDS):
            keyring = Keyring.read(system.settings.keyring_path)
            await stage._sees(lambda keyring=keyring: keyring.settled(SystemClock().wall_us()))
            keys.rotate(system.settings, purpose)
        for number in range(60):
            pushed = await stage.revoke(f"tenant:{number}")
            names.add(sealed.decode(pushed).key_id)
            token = (await stage.authority.issue(f"agent:{number}"))["token"]
            assert isinstance(await stage.check(token), Allowed)
            await asyncio.sleep(0.1)  # six seconds of traffic: longer than the overlap
        assert len(names) == 2  # the key before, and then the new one
        assert stage.tally.messages_refused == 0
        assert stage.tally.instances_ended == 0
        assert stage.sidecar._notary.serial == 3


@pytest.fixture
def prepared(system: System) -> System:
    preparing.make_keys(system.settings)
    return system


class ManualClock(SystemClock):
    """A wall clock that a test moves."""

    now_us = SystemClock().wall_us()

    def wall_us(self) -> int:
        return self.now_us


def test_a_new_key_is_known_before_it_signs(prepared: System) -> None:
    clock = ManualClock()
    live = LiveKeyring(prepared.settings.keyring_path, clock)
    before = live.sign(Purpose.EVENTS, b"x").key_id
    keys.rotate(prepared.settings, Purpose.EVENTS)
    live.look()
    assert live.serial == 2
    assert live.sign(Purpose.EVENTS, b"x").key_id == before
    clock.now_us = SystemClock().wall_us() + OVERLAP_US
    live.look()
    after = live.sign(Purpose.EVENTS, b"x")
    assert after.key_id != before
    assert live.verify(Purpose.EVENTS, after)


def test_two_rotations_at_once_are_refused_and_change_nothing(prepared: System) -> None:
    keys.rotate(prepared.settings, Purpose.EVENTS)
    text = prepared.settings.keyring_path.read_text()
    with pytest.raises(KeyringError, match="again in a minute"):
        keys.rotate(prepared.settings, Purpose.RECORDS)
    assert prepared.settings.keyring_path.read_text() == text


def test_without_the_root_key_nothing_is_rotated(prepared: System) -> None:
    elsewhere = prepared.settings.root_key_path.rename(prepared.settings.data / "vault")
    with pytest.raises(KeyFileError, match="RESCIND_ROOT_KEY_FILE"):
        keys.rotate(prepared.settings, Purpose.EVENTS)
    kept = prepared.but(root_key_file=elsewhere)
    assert keys.rotate(kept.settings, Purpose.EVENTS)["serial"] == 2


def test_what_is_shown_of_the_keys_is_public(prepared: System) -> None:
    shown = repr(keys.show(prepared.settings))
    text = prepared.settings.keyring_path.read_text()
    keyring = Keyring.read(prepared.settings.keyring_path)
    secrets = [keyring.master.hex(), *(key.seed.hex() for key in keyring._keys)]
    assert all(secret in text and secret not in shown for secret in secrets)


def test_a_file_that_is_no_keyring_of_ours_changes_no_key(prepared: System) -> None:
    path = prepared.settings.keyring_path
    live = LiveKeyring(path, SystemClock())
    before = live.statement
    other = Keyring.create(root=bytes(32), now_us=1)
    for wrong in ("", "{}", None):
        path.unlink()
        if wrong is None:
            other.write(path)
        else:
            path.write_text(wrong)
        live.look()
        assert live.statement == before
