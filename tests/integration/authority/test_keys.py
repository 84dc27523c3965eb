"""Keys rotate while events and look-ups go on: no message is refused, and no sidecar locked out."""

import asyncio
import base64
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from tests.integration.authority.test_nats_tampering import run_attacked_system
from tests.support.authority import System
from tests.support.clocks import ManualClock
from tests.support.eventually import eventually

from rescind import Allowed, Denied, Reason
from rescind.core import instance_mac
from rescind.core.token_format import Kind, genuine, mint, parse
from rescind.wire import nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import EdgeKeyFile, ReloadingEdgeKeys
from rescind_authority.keys.reloading_keyring import ReloadingKeyring
from rescind_authority.operator import bootstrap, key_commands
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto import signing
from rescind_runtime.crypto.signing import KINDS, OVERLAP_US, Keyring
from rescind_runtime.crypto.trust import KeyringError, Trust
from rescind_runtime.net import nats_connection


async def test_a_rotation_of_every_key_under_traffic_refuses_no_event_no_record_and_no_check(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 4_000_000)
    async with run_attacked_system(system, tmp_path) as attacked:
        spoken = set[bytes]()

        async def hear(message: Msg) -> None:
            spoken.add(message.data)

        await nats_connection.subscribe(attacked.attacker, nats_subjects.HEARTBEAT, hear)
        names = set[bytes]()
        before = _rotate_all(system)
        for number in range(60):
            pushed = await attacked.revoke(f"tenant:{number}")
            names.add(signed_envelope.decode(pushed).key_id)
            token = (await attacked.authority.issue(f"agent:{number}"))["token"]
            assert isinstance(await attacked.check(token), Allowed)
            await asyncio.sleep(0.1)  # six seconds of traffic: longer than the overlap
        assert len(names) == 2  # the key before, and then the new one
        assert attacked.tally.messages_refused == 0
        assert attacked.tally.enrolments_refused == 0
        assert attacked.tally.instances_ended == 0
        assert attacked.sidecar._trust_store.serial == before.serial + len(KINDS)
        # The same instance spoke under the old master key, and under the new one.
        now = Keyring.read(system.settings.keyring_path)
        now.advance(SystemClock().wall_us())
        assert {_master_of(each, now.masters) for each in spoken} == {0, 1}
        assert len({signed_envelope.decode(each).key_id for each in spoken}) == 1


def _rotate_all(system: System) -> Keyring:
    """Rotate every key of the keyring at once; return the keyring of before."""
    before = keyring = Keyring.read(system.settings.keyring_path)
    root = secret_files.read_key(system.settings.root_key_path)
    for kind in KINDS:
        keyring = keyring.rotated(kind, root=root, now_us=SystemClock().wall_us())
    keyring.write(system.settings.keyring_path)
    keyring.trust.write(system.settings.trust_path)
    return before


def _master_of(payload: bytes, masters: tuple[bytes, ...]) -> int | None:
    """Return under which of these master keys an instance spoke."""
    envelope = signed_envelope.decode(payload)
    for place, master in enumerate(masters):
        secret = instance_mac.instance_secret(master, epoch=1, instance=envelope.key_id)
        if instance_mac.genuine(
            secret, instance_mac.TO_AUTHORITY, envelope.content, envelope.signature
        ):
            return place
    return None


async def test_edge_keys_are_rotated_and_no_good_token_is_ever_refused_as_forged(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 4_000_000)
    async with run_attacked_system(system, tmp_path) as attacked:
        path = system.settings.edge_keys_path
        before = (await attacked.authority.issue("agent:before"))["token"]
        assert key_commands.rotate(system.settings, key_commands.EDGE)["serial"] == 2
        fresh, old = (each.key for each in EdgeKeyFile.read(path).keys)
        minted = set[bytes]()
        for number in range(60):
            token = (await attacked.authority.issue(f"agent:{number}"))["token"]
            minted.update(key for key in (fresh, old) if genuine(parse(token), [key]))
            assert isinstance(await attacked.check(token), Allowed)
            await asyncio.sleep(0.1)  # six seconds of traffic: longer than the overlap
        assert minted == {fresh, old}
        assert isinstance(await attacked.check(before), Allowed)
        assert attacked.tally.forgeries == 0
        assert attacked.sidecar._trust_store.serial == 2
        forged = mint(kind=Kind.AGENT, random=bytes(32), edge_key=bytes(32)).reveal()
        assert await attacked.check(forged) == Denied(Reason.UNKNOWN)
        assert attacked.tally.forgeries == 1


async def test_a_sidecar_that_missed_an_edge_key_fetches_it_when_it_meets_its_tokens(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 0)
    async with run_attacked_system(system, tmp_path) as attacked:
        # As if the file of another host had come late: no newer statement tells of it.
        path = system.settings.edge_keys_path
        EdgeKeyFile.read(path).rotated(SystemClock().wall_us() - 1_000_000).write(path)
        token = (await attacked.authority.issue("agent:new"))["token"]

        async def accepted() -> bool:
            return isinstance(await attacked.check(token), Allowed)

        await eventually(accepted)
        assert attacked.tally.forgeries >= 1


async def test_receipts_go_on_while_their_key_is_rotated_and_the_old_ones_stay_good(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 2_000_000)
    async with run_attacked_system(system, tmp_path) as attacked:
        key_commands.rotate(system.settings, Purpose.RECEIPTS)
        receipts: list[dict[str, str]] = []
        for number in range(13):
            done = await attacked.authority.revoke(f"tenant:{number}", wait=True)
            assert done["state"] == "enforced"
            receipts.append(done["receipt"])
            await asyncio.sleep(0.4)  # five seconds in all: the authority looks every two
        assert len({each["key_id"] for each in receipts}) == 2
        trust = Trust.read(system.settings.trust_path)
        for each in receipts:
            content = base64.b64decode(each["content"])
            key_id, signature = bytes.fromhex(each["key_id"]), bytes.fromhex(each["signature"])
            assert trust.verify(Purpose.RECEIPTS, SignedEnvelope(content, key_id, signature))


async def test_a_sidecar_with_an_old_trust_file_enrols_before_while_and_after_its_key_is_rotated(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "OVERLAP_US", 2_000_000)
    old = tmp_path / "old-trust"
    async with run_attacked_system(system, tmp_path) as attacked:
        old.write_bytes(system.settings.trust_path.read_bytes())
        key_commands.rotate(system.settings, Purpose.ENROLMENT)
        for number in range(5):
            tally = await attacked.run_another_sidecar(tmp_path / f"{number}.sock", trust_file=old)
            assert (tally.heartbeats > 0, tally.messages_refused) == (True, 0)
            await asyncio.sleep(0.8)  # five seconds in all: the authority looks every two


@pytest.fixture
def prepared(system: System) -> System:
    bootstrap.make_keys(system.settings)
    secret_files.create_edge_key(system.settings.edge_keys_path)
    return system


def test_a_new_key_is_known_before_it_signs(prepared: System) -> None:
    clock = ManualClock(now_us=SystemClock().wall_us())
    keyring = ReloadingKeyring(prepared.settings.keyring_path, clock)
    before = keyring.sign(Purpose.EVENTS, b"x").key_id
    key_commands.rotate(prepared.settings, Purpose.EVENTS)
    keyring.refresh()
    assert keyring.serial == 2
    assert keyring.sign(Purpose.EVENTS, b"x").key_id == before
    clock.now_us = SystemClock().wall_us() + OVERLAP_US
    keyring.refresh()
    after = keyring.sign(Purpose.EVENTS, b"x")
    assert after.key_id != before
    assert keyring.verify(Purpose.EVENTS, after)


def test_a_new_edge_key_is_known_before_it_mints_and_an_old_one_outlives_its_tokens(
    prepared: System,
) -> None:
    clock, path = ManualClock(now_us=SystemClock().wall_us()), prepared.settings.edge_keys_path
    edge_keys = ReloadingEdgeKeys(path, clock)
    (before,) = edge_keys.accepted
    clock.now_us = SystemClock().wall_us()
    key_commands.rotate(prepared.settings, key_commands.EDGE)
    fresh, kept = edge_keys.accepted
    assert (kept, edge_keys.minting) == (before, before)
    clock.now_us += OVERLAP_US - 1
    assert edge_keys.minting == before
    now_us = SystemClock().wall_us() + 1_000_000  # the file has whole seconds
    clock.now_us = now_us + OVERLAP_US
    assert edge_keys.minting == fresh
    clock.now_us = now_us + 366 * 86_400 * 1_000_000
    assert edge_keys.accepted == (fresh, before)
    clock.now_us += OVERLAP_US + 1_000_000
    assert [*edge_keys.accepted] == [fresh]


def test_an_edge_key_file_that_cannot_be_read_changes_no_key(prepared: System) -> None:
    path = prepared.settings.edge_keys_path
    edge_keys = ReloadingEdgeKeys(path, SystemClock())
    before = edge_keys.accepted
    for wrong in ("", "no key", "abcd 17", None):
        path.unlink()
        if wrong is not None:
            path.write_text(wrong)
        assert edge_keys.accepted == before


def test_the_output_about_edge_keys_contains_no_secret(prepared: System) -> None:
    shown = repr(key_commands.rotate(prepared.settings, key_commands.EDGE))
    edge = EdgeKeyFile.read(prepared.settings.edge_keys_path)
    assert not any(each.key.hex() in shown for each in edge.keys)


def test_two_rotations_at_once_are_refused_and_change_nothing(prepared: System) -> None:
    key_commands.rotate(prepared.settings, Purpose.EVENTS)
    text = prepared.settings.keyring_path.read_text()
    with pytest.raises(KeyringError, match="again in a minute"):
        key_commands.rotate(prepared.settings, Purpose.RECORDS)
    assert prepared.settings.keyring_path.read_text() == text


def test_without_the_root_key_nothing_is_rotated(prepared: System) -> None:
    elsewhere = prepared.settings.root_key_path.rename(prepared.settings.data / "vault")
    with pytest.raises(KeyFileError, match="RESCIND_ROOT_KEY_FILE"):
        key_commands.rotate(prepared.settings, Purpose.EVENTS)
    kept = prepared.but(root_key_file=elsewhere)
    assert key_commands.rotate(kept.settings, Purpose.EVENTS)["serial"] == 2


def test_the_output_about_the_keyring_contains_no_secret(prepared: System) -> None:
    shown = repr(key_commands.show(prepared.settings))
    text = prepared.settings.keyring_path.read_text()
    keyring = Keyring.read(prepared.settings.keyring_path)
    secrets = [keyring.master.hex(), *(key.seed.hex() for key in keyring._private.keys)]
    assert all(secret in text and secret not in shown for secret in secrets)


def test_a_file_that_is_not_the_installations_keyring_changes_no_key(prepared: System) -> None:
    path = prepared.settings.keyring_path
    keyring = ReloadingKeyring(path, SystemClock())
    before = keyring.statement
    other = Keyring.create(root=bytes(32), now_us=1)
    for wrong in ("", "{}", None):
        path.unlink()
        if wrong is None:
            other.write(path)
        else:
            path.write_text(wrong)
        keyring.refresh()
        assert keyring.statement == before
