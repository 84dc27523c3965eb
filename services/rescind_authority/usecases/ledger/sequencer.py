"""The batching sequencer: the one writer of the ledger in this process (design 4).

It processes the commands that queued up during its last commit, at most 256, in one transaction.
The transaction locks the keys first, in sorted order, and the head row last. Then it numbers and
chains the events, writes all rows at once, and commits. The announcement follows only after the
COMMIT.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind.errors import RescindError
from rescind.wire import events
from rescind.wire.events import Batch
from rescind_authority.errors import (
    KeyReusedError,
    StoreContendedError,
    StoreRefusedError,
    TokenMovedError,
)
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.ledger import (
    Change,
    CommittedEvent,
    End,
    FirstRequest,
    IdempotentRequest,
    Key,
    LedgerEntry,
    LedgerTip,
    LedgerTransaction,
    Transactions,
)
from rescind_authority.ports.metrics import Metrics
from rescind_authority.ports.tokens import Snapshot
from rescind_authority.usecases.ledger.batcher import Batcher
from rescind_authority.usecases.ledger.publisher import Publisher

MAX_BATCH = events.MAX_EVENTS
_CAPACITY = 4_096
_ATTEMPTS = 5
_MAX_LINES = 8

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class ActorCheck:
    """A check of the caller's rights, in the transaction that changes a token.

    `require` receives a snapshot, from that transaction, of the token of `token_hash`, which the
    caller presented. If the caller has lost the right, `require` raises a RescindError, and nothing
    is changed.
    """

    token_hash: bytes
    require: Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class LedgerCommand:
    """A revocation to commit under an idempotency key.

    `then` follows it in the same commit, under the same id: a kill is two events. `change` is a
    change to a token in the same commit, after the `actor_check`. If the check fails or the change
    is not possible, no event is committed.
    """

    idempotency: IdempotentRequest
    revocation: Revocation
    exact: bool
    awaited: bool = False
    then: Revocation | None = None
    change: Change | None = None
    actor_check: ActorCheck | None = None

    @property
    def revocations(self) -> tuple[Revocation, ...]:
        """Return the revocations that the command adds to the ledger, in this order."""
        return (self.revocation,) if self.then is None else (self.revocation, self.then)


@dataclass(frozen=True, slots=True)
class _Written:
    """The result of one transaction: its events, and the answer or the error of each key."""

    before: Position
    entries: tuple[LedgerEntry, ...]
    answers: dict[Key, str]
    firsts: dict[Key, FirstRequest]
    refused: dict[Key, RescindError]


class Sequencer:
    """Commit commands in batches, one batch after the other."""

    def __init__(
        self, transactions: Transactions, *, publisher: Publisher, clock: Clock, metrics: Metrics
    ) -> None:
        self._transactions = transactions
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._batcher = Batcher[LedgerCommand, CommittedEvent](
            self._commit, most=MAX_BATCH, capacity=_CAPACITY, what="revocations"
        )

    @property
    def depth(self) -> int:
        """Return the number of commands that wait."""
        return self._batcher.depth

    async def commit(self, command: LedgerCommand) -> CommittedEvent:
        """Commit one command, or return the earlier commit under its key.

        Raises KeyReusedError, TokenMovedError, OverloadedError, StoreUnavailableError or
        CommitUnknownError.
        """
        return await self._batcher.submit(command)

    async def run(self) -> None:
        """Commit batches until cancelled."""
        await self._batcher.run()

    async def _commit(
        self, commands: Sequence[LedgerCommand]
    ) -> Sequence[CommittedEvent | RescindError]:
        try:
            written = await self._write_with_retries(commands)
        except RescindError as error:
            self._metrics.commit_failed()
            if not isinstance(error, StoreRefusedError):
                raise
            if len(commands) == 1:
                return [error]
            # A command that Postgres refuses must not fail the other commands.
            return [(await self._commit([command]))[0] for command in commands]
        for batch in _divide_into_batches(
            written, awaited=any(command.awaited for command in commands)
        ):
            self._publisher.publish(batch)
        _log_committed(written.entries)
        return [_outcome_of(command, written) for command in commands]

    async def _write_with_retries(self, commands: Sequence[LedgerCommand]) -> _Written:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._write(commands)
            except StoreContendedError:
                continue  # a deadlock with an operator's hand-written SQL, or a lock held too long
        return await self._write(commands)

    async def _write(self, commands: Sequence[LedgerCommand]) -> _Written:
        # If two commands in one batch have the same key, the second is a repeat of the first.
        by_key: dict[Key, LedgerCommand] = {}
        for command in commands:
            by_key.setdefault(command.idempotency.key, command)
        began_ns = self._clock.monotonic_raw_ns()
        async with self._transactions.begin() as transaction:
            written = await _write_batch(transaction, by_key)
        if written.entries:
            self._metrics.committed(
                events=len(written.entries),
                seconds=(self._clock.monotonic_raw_ns() - began_ns) / 1e9,
            )
        return written


async def _write_batch(
    transaction: LedgerTransaction, commands: Mapping[Key, LedgerCommand]
) -> _Written:
    """Write the events of the commands whose key is new, all in one statement."""
    # Keys in sorted order, and before the head: every batch of every authority locks in the same
    # order, so that no deadlock arises.
    requests = [commands[key].idempotency for key in sorted(commands)]
    firsts = dict(await transaction.lock_keys(requests))
    refused: dict[Key, RescindError] = {}
    fresh, ends = await _apply_changes(
        transaction,
        [command for key, command in commands.items() if firsts[key].answer is None],
        refused,
    )
    if not fresh:
        return _Written(Position(0, 0, b""), (), {}, firsts, refused)
    # The head last: while it is locked, no other process commits an event.
    tip = await transaction.lock_head()
    entries = _chain_events(tip, fresh)
    answers = await _append(transaction, entries, commands=fresh, ends=ends)
    return _Written(tip.position, entries, answers, firsts, refused)


async def _append(
    transaction: LedgerTransaction,
    entries: Sequence[LedgerEntry],
    *,
    commands: Sequence[LedgerCommand],
    ends: Mapping[Key, End],
) -> dict[Key, str]:
    """Append the entries of commands to the ledger, and return the answer of each key."""
    # A command with two events is answered with the last: it is enforced after the first.
    last = {entry.event.revocation.revocation_id: entry for entry in entries}
    answers = {
        command.idempotency.key: _encode_answer(last[command.revocation.revocation_id])
        for command in commands
    }
    end = entries[-1]
    await transaction.append(
        entries,
        exact={command.revocation.revocation_id for command in commands if command.exact},
        head=Position(end.event.epoch, end.event.seq, end.head),
        answers=answers,
        # A token or a secret ends at its event's position, in the commit of the event.
        ends={
            ends[command.idempotency.key]: last[command.revocation.revocation_id].event.seq
            for command in commands
            if command.idempotency.key in ends
        },
    )
    return answers


async def _apply_changes(
    transaction: LedgerTransaction,
    commands: Sequence[LedgerCommand],
    refused: dict[Key, RescindError],
) -> tuple[Sequence[LedgerCommand], dict[Key, End]]:
    """Change tokens in sorted order, and leave out the commands whose change is not possible.

    Return the remaining commands, and the end that the event of each key causes. The errors of the
    commands that are left out are put into `refused`, by key.
    """
    changes = {
        command.idempotency.key: (command.change, command.actor_check)
        for command in commands
        if command.change is not None
    }
    ends: dict[Key, End] = {}
    for key, (change, actor_check) in sorted(
        changes.items(), key=lambda each: (each[1][0].token_id, each[0])
    ):
        if actor_check is not None:
            presented = await transaction.read_presented(actor_check.token_hash)
            try:
                actor_check.require(presented)
            except RescindError as error:
                refused[key] = error
                continue
        done = await transaction.change(change)
        if done is None:
            refused[key] = TokenMovedError()
        elif done.end is not None:
            ends[key] = done.end
    return [command for command in commands if command.idempotency.key not in refused], ends


def _chain_events(tip: LedgerTip, commands: Sequence[LedgerCommand]) -> tuple[LedgerEntry, ...]:
    """Number the events of commands from the head on, and chain their payloads."""
    position = tip.position
    entries: list[LedgerEntry] = []
    for revocation in (each for command in commands for each in command.revocations):
        event = Event(position.epoch, position.seq + 1, tip.at_us, revocation)
        payload = events.encode(event)
        position = position.after(payload)
        entries.append(LedgerEntry(event, payload, position.head))
    return tuple(entries)


def _divide_into_batches(written: _Written, *, awaited: bool) -> Iterator[Batch]:
    """Divide the events of one transaction into messages, usually one."""
    before, entries = written.before.head, written.entries
    while entries:
        payloads = events.fit(entry.payload for entry in entries)
        last = entries[len(payloads) - 1]
        yield Batch(
            epoch=written.before.epoch,
            first_seq=entries[0].event.seq,
            before=before,
            after=last.head,
            awaited=awaited,
            payloads=payloads,
        )
        before, entries = last.head, entries[len(payloads) :]


def _log_committed(entries: Sequence[LedgerEntry]) -> None:
    """Log each revocation, or the range of a large batch.

    The ledger contains the rest.
    """
    if len(entries) > _MAX_LINES:
        first, last = entries[0].event, entries[-1].event
        _log.info(
            "revocations are in the ledger",
            action="revocation.committed",
            events=len(entries),
            first_seq=first.seq,
            seq=last.seq,
        )
        return
    for entry in entries:
        event, revocation = entry.event, entry.event.revocation
        _log.info(
            "a revocation is in the ledger",
            action="revocation.committed",
            seq=event.seq,
            id=revocation.revocation_id,
            effect=revocation.effect,
            selector=str(revocation.selector),
            actor=revocation.actor,
        )


def _outcome_of(command: LedgerCommand, written: _Written) -> CommittedEvent | RescindError:
    key = command.idempotency.key
    first = written.firsts[key]
    if first.body_hash != command.idempotency.body_hash:
        return KeyReusedError()
    if first.answer is not None:
        return _decode_answer(first.answer)
    refusal = written.refused.get(key)
    return refusal or replace(_decode_answer(written.answers[key]), fresh=True)


def _encode_answer(entry: LedgerEntry) -> str:
    event = entry.event
    return json.dumps(
        {
            "id": event.revocation.revocation_id,
            "epoch": event.epoch,
            "seq": event.seq,
            "at_us": event.at_us,
        }
    )


def _decode_answer(answer: str) -> CommittedEvent:
    stored = json.loads(answer)
    return CommittedEvent(stored["id"], stored["epoch"], stored["seq"], stored["at_us"])
