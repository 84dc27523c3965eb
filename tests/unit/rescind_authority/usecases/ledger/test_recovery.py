"""Recovery of lost events of a restored ledger, from the sidecars that applied them."""

import os
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from rescind.core import ledger
from rescind.core.handles import select
from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind.errors import MalformedMessageError
from rescind.wire import events
from rescind.wire.events import Batch
from rescind.wire.trust_statement import Purpose
from rescind_authority import actors
from rescind_authority.ports.ledger import CommittedEvent, Epoch
from rescind_authority.usecases.ledger.recovery import Recovery
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring

RESTORED_AT = 5
KEYRING = Keyring.create(root=bytes(32), now_us=0)


class Epochs:
    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    async def known(self) -> tuple[Epoch, ...]:
        bases = (0, *(RESTORED_AT for _ in self._numbers[1:]))
        return tuple(
            Epoch(number, base, bytes(32), 0)
            for number, base in zip(self._numbers, bases, strict=True)
        )

    async def payloads(self, seqs: Collection[int]) -> dict[int, bytes]:
        return {seq: payload for seq, payload in HELD.items() if seq in seqs}


class Sequencer:
    def __init__(self) -> None:
        self.commands: list[LedgerCommand] = []

    async def commit(self, command: LedgerCommand) -> CommittedEvent:
        self.commands.append(command)
        seq = RESTORED_AT + len(self.commands)
        return CommittedEvent(command.revocation.revocation_id, 9, seq, 0)


def event(seq: int, *, epoch: int = 1, effect: str = "revoke") -> Event:
    revocation = Revocation(
        revocation_id=f"rev_{seq}",
        selector=select([f"subject:agent:{seq}"]),
        effect=effect,
        reason="it went rogue",
        actor="admin:sec",
        scopes=("tools:*",) if effect == "narrow" else (),
    )
    return Event(epoch, seq, 1_000 + seq, revocation)


HELD = {seq: events.encode(event(seq)) for seq in range(1, RESTORED_AT + 1)}


def batch(*of: Event, keyring: Any = KEYRING) -> bytes:
    payloads = tuple(events.encode(each) for each in of)
    before = Position(of[0].epoch, of[0].seq - 1, bytes(32))
    return events.encode_batch(
        Batch(
            epoch=before.epoch,
            first_seq=of[0].seq,
            before=before.head,
            after=ledger.replay(before, payloads).head,
            awaited=False,
            payloads=payloads,
        ),
        lambda content: keyring.sign(Purpose.EVENTS, content),
    )


async def take(
    *payloads: bytes, epochs: Sequence[int] = (1, 9)
) -> tuple[list[bool], list[LedgerCommand]]:
    sequencer: Any = Sequencer()
    keys: Any = KEYRING.trust
    recovery = Recovery(
        Epochs(*epochs), sequencer=sequencer, keys=keys, clock=SystemClock(), entropy=os.urandom
    )
    wanted = [await recovery.recover(payload) for payload in payloads]
    return wanted, sequencer.commands


async def test_a_lost_revoke_or_suspend_is_recovered_and_names_its_former_position() -> None:
    wanted, commands = await take(batch(event(6), event(7, effect="suspend")))
    assert wanted == [True]
    assert [each.revocation.effect for each in commands] == ["revoke", "suspend"]
    again = commands[0].revocation
    assert again.selector == event(6).revocation.selector
    assert again.actor == actors.RECOVERY
    assert again.reason == "lost in a restore: rev_6, 1.6, by admin:sec: it went rogue"


async def test_a_lost_narrow_is_recovered_with_its_scopes() -> None:
    _, [command] = await take(batch(event(6, effect="narrow")))
    assert command.revocation.scopes == ("tools:*",)


@pytest.mark.parametrize("effect", ["lift", "unheard-of"])
async def test_no_lost_event_that_may_restore_access_is_recovered(effect: str) -> None:
    assert await take(batch(event(6, effect=effect))) == ([True], [])


def changed(seq: int, *, actor: str = "admin:sec") -> Event:
    revocation = Revocation(
        revocation_id=f"rev_{seq}",
        selector=select(["token:tok_1"], exact=True),
        effect="changed",
        reason="rotated",
        actor=actor,
    )
    return Event(1, seq, 1_000 + seq, revocation)


async def test_a_lost_rotation_or_early_end_is_recovered_as_a_revoke_of_that_token_alone() -> None:
    # The event says that the token changed, not how: the secret and the end were in lost rows.
    _, [command] = await take(batch(changed(6)))
    again = command.revocation
    assert again.effect == "revoke"
    assert again.selector.handles == ("token:tok_1",)
    assert command.exact
    assert again.reason == "lost in a restore: rev_6, 1.6, by admin:sec: rotated"


async def test_a_scheduled_end_is_not_recovered_as_a_revoke() -> None:
    """It would end a token whose old secret alone was to end."""
    assert await take(batch(changed(6, actor="rescind:ends"))) == ([True], [])


async def test_events_in_the_backup_are_not_lost_and_older_offers_are_not_wanted() -> None:
    wanted, commands = await take(batch(event(5), event(6)))
    assert wanted == [False]
    assert [each.revocation.reason.split(",")[0] for each in commands] == [
        "lost in a restore: rev_6"
    ]


async def test_an_epoch_whose_beginning_was_lost_is_lost_as_a_whole() -> None:
    _, commands = await take(batch(event(3, epoch=4)))
    assert len(commands) == 1


async def test_an_event_whose_seq_was_used_by_another_one_before_the_new_epoch_is_lost() -> None:
    # Something was committed between the restore and the new epoch: seq 5 is another event there.
    wanted, commands = await take(batch(event(5, effect="suspend"), event(6)))
    assert wanted == [True]
    assert [each.revocation.effect for each in commands] == ["suspend", "revoke"]


async def test_two_events_with_one_seq_are_both_recovered() -> None:
    _, commands = await take(batch(event(6)), batch(event(6, effect="suspend")))
    assert len({each.idempotency.key for each in commands}) == 2


async def test_an_event_that_every_sidecar_offers_is_committed_once() -> None:
    _, commands = await take(batch(event(6)), batch(event(6)), batch(event(6), event(7)))
    assert [each.idempotency.key.actor for each in commands] == [actors.RECOVERY, actors.RECOVERY]
    assert [each.idempotency.key.key[:4] for each in commands] == ["1.6.", "1.7."]


async def test_a_batch_signed_by_a_foreign_key_is_refused() -> None:
    forger = Keyring.create(root=bytes(range(32)), now_us=0)
    with pytest.raises(MalformedMessageError, match="signed"):
        await take(batch(event(6), keyring=forger))


async def test_a_signed_batch_of_this_epoch_or_a_later_is_refused() -> None:
    for epoch in (9, 10):
        with pytest.raises(MalformedMessageError, match="earlier"):
            await take(batch(event(6, epoch=epoch)))


async def test_a_truncated_batch_is_refused() -> None:
    with pytest.raises(MalformedMessageError):
        await take(batch(event(6))[:-9])
