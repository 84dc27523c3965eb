"""Keys are rotated while events and look-ups go on: nothing is refused, nobody is locked out."""

import asyncio
import base64
from pathlib import Path

import pytest
from tests.integration.authority.test_tampering import scene
from tests.support.authority import System, eventually

from rescind import Allowed, Denied, Reason
from rescind.core.tokens import Kind, genuine, mint, parse
from rescind.wire import sealed
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_authority import keys, preparing, secret_files
from rescind_authority.edge_keys import EdgeKeys, LiveEdgeKeys
from rescind_authority.errors import KeyFileError
from rescind_authority.live_keyring import LiveKeyring
from rescind_runtime import signing
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import OVERLAP_US, Keyring, KeyringError, Trust


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


async def test_edge_keys_are_rotated_and_no_good_token_is_ever_taken_for_a_forgery(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 4_000_000)
    async with scene(system, tmp_path) as stage:
        path = system.settings.edge_keys_path
        before = (await stage.authority.issue("agent:before"))["token"]
        assert keys.rotate_edge(system.settings)["serial"] == 2
        fresh, old = (each.key for each in EdgeKeys.read(path).keys)
        minted = set[bytes]()
        for number in range(60):
            token = (await stage.authority.issue(f"agent:{number}"))["token"]
            minted.update(key for key in (fresh, old) if genuine(parse(token), [key]))
            assert isinstance(await stage.check(token), Allowed)
            await asyncio.sleep(0.1)  # six seconds of traffic: longer than the overlap
        assert minted == {fresh, old}
        assert isinstance(await stage.check(before), Allowed)
        assert stage.tally.forgeries == 0
        assert stage.sidecar._notary.serial == 2
        forged = mint(kind=Kind.AGENT, random=bytes(32), edge_key=bytes(32)).reveal()
        assert await stage.check(forged) == Denied(Reason.UNKNOWN)
        assert stage.tally.forgeries == 1


async def test_a_sidecar_that_missed_an_edge_key_fetches_it_when_it_meets_its_tokens(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 0)
    async with scene(system, tmp_path) as stage:
        # As if the file of another host had come late: no newer statement tells of it.
        path = system.settings.edge_keys_path
        EdgeKeys.read(path).rotated(SystemClock().wall_us() - 1_000_000).write(path)
        token = (await stage.authority.issue("agent:new"))["token"]

        async def accepted() -> bool:
            return isinstance(await stage.check(token), Allowed)

        await eventually(accepted)
        assert stage.tally.forgeries >= 1


async def test_receipts_go_on_while_their_key_is_rotated_and_the_old_ones_stay_good(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 2_000_000)
    async with scene(system, tmp_path) as stage:
        keys.rotate(system.settings, Purpose.RECEIPTS)
        receipts: list[dict[str, str]] = []
        for number in range(13):
            done = await stage.authority.revoke(f"tenant:{number}", wait=True)
            assert done["state"] == "enforced"
            receipts.append(done["receipt"])
            await asyncio.sleep(0.4)  # five seconds in all: the authority looks every two
        assert len({each["key_id"] for each in receipts}) == 2
        trust = Trust.read(system.settings.trust_path)
        for each in receipts:
            content = base64.b64decode(each["content"])
            key_id, signature = bytes.fromhex(each["key_id"]), bytes.fromhex(each["signature"])
            assert trust.verify(Purpose.RECEIPTS, Sealed(content, key_id, signature))


async def test_a_sidecar_with_an_old_trust_file_enrols_before_while_and_after_its_key_is_rotated(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 2_000_000)
    old = tmp_path / "old-trust"
    async with scene(system, tmp_path) as stage:
        old.write_bytes(system.settings.trust_path.read_bytes())
        keys.rotate(system.settings, Purpose.ENROLMENT)
        for number in range(5):
            tally = await stage.another(tmp_path / f"{number}.sock", trust_file=old)
            assert (tally.heartbeats > 0, tally.messages_refused) == (True, 0)
            await asyncio.sleep(0.8)  # five seconds in all: the authority looks every two


@pytest.fixture
def prepared(system: System) -> System:
    preparing.make_keys(system.settings)
    secret_files.create_edge_key(system.settings.edge_keys_path)
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


def test_a_new_edge_key_is_known_before_it_mints_and_an_old_one_outlives_its_tokens(
    prepared: System,
) -> None:
    clock, path = ManualClock(), prepared.settings.edge_keys_path
    live = LiveEdgeKeys(path, clock)
    (before,) = live.live
    clock.now_us = SystemClock().wall_us()
    keys.rotate_edge(prepared.settings)
    fresh, kept = live.live
    assert (kept, live.minting) == (before, before)
    clock.now_us += OVERLAP_US - 1
    assert live.minting == before
    now_us = SystemClock().wall_us() + 1_000_000  # the file has whole seconds
    clock.now_us = now_us + OVERLAP_US
    assert live.minting == fresh
    clock.now_us = now_us + 366 * 86_400 * 1_000_000
    assert live.live == (fresh, before)
    clock.now_us += OVERLAP_US + 1_000_000
    assert live.live == (fresh,)


def test_an_edge_key_file_that_cannot_be_read_changes_no_key(prepared: System) -> None:
    path = prepared.settings.edge_keys_path
    live = LiveEdgeKeys(path, SystemClock())
    before = live.live
    for wrong in ("", "no key", "abcd 17", None):
        path.unlink()
        if wrong is not None:
            path.write_text(wrong)
        assert live.live == before


def test_what_is_shown_of_the_edge_keys_is_public(prepared: System) -> None:
    shown = repr(keys.rotate_edge(prepared.settings))
    edge = EdgeKeys.read(prepared.settings.edge_keys_path)
    assert not any(each.key.hex() in shown for each in edge.keys)


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
