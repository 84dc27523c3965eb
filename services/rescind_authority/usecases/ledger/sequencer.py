"""The batching sequencer: the one writer of the ledger in this process (design 4).

It takes what queued up during its last commit, at most 256 commands, and does the work in one
transaction: keys first, in sorted order; the head row's lock last; then numbers and chains; then
all rows at once; then COMMIT; and only after that the announcement.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
    Claimed,
    End,
    IdempotencyClaim,
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
_MOST_LINES = 8

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Warrant:
    """The right to have a token changed, judged once more in the transaction that changes it.

    `judge` is given the token of `token_hash`, which the caller presented, as it is there. It
    raises a RescindError where the right is gone: then nothing is changed.
    """

    token_hash: bytes
    judge: Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class RevocationCommand:
    """Describe a revocation to commit under an idempotency key.

    `then` follows it in the same commit, under the same id: a kill is two events. `change` is what
    happens to a token in the same commit, if its `warrant` is good there. If the change cannot
    happen, there is no event either.
    """

    claim: IdempotencyClaim
    revocation: Revocation
    exact: bool
    awaited: bool = False
    then: Revocation | None = None
    change: Change | None = None
    warrant: Warrant | None = None

    @property
    def revocations(self) -> tuple[Revocation, ...]:
        """What it adds to the ledger, in this order."""
        return (self.revocation,) if self.then is None else (self.revocation, self.then)


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a command's last event stands in the ledger: the same for every repeat of its key.

    `fresh` says that it came there just now, with this very call or one beside it.
    """

    revocation_id: str
    epoch: int
    seq: int
    at_us: int
    fresh: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Written:
    """What one transaction did: the events it added, and what each key answers, or why not."""

    before: Position
    entries: tuple[LedgerEntry, ...]
    answers: dict[Key, str]
    claimed: dict[Key, Claimed]
    refused: dict[Key, RescindError]


class Sequencer:
    """Commit commands, in batches, one after the other."""

    def __init__(
        self, transactions: Transactions, *, publisher: Publisher, clock: Clock, metrics: Metrics
    ) -> None:
        self._transactions = transactions
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._batcher = Batcher[RevocationCommand, Committed](
            self._commit, most=MAX_BATCH, capacity=_CAPACITY, what="revocations"
        )

    @property
    def depth(self) -> int:
        """How many commands wait."""
        return self._batcher.depth

    async def commit(self, command: RevocationCommand) -> Committed:
        """Commit one command, or find what its key committed earlier.

        Raises KeyReusedError, TokenMovedError, OverloadedError, StoreUnavailableError or
        OutcomeUnknownError.
        """
        return await self._batcher.ask(command)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._batcher.run()

    async def _commit(
        self, commands: Sequence[RevocationCommand]
    ) -> Sequence[Committed | RescindError]:
        try:
            written = await self._write_with_retries(commands)
        except RescindError as error:
            self._metrics.commit_failed()
            if not isinstance(error, StoreRefusedError):
                raise
            if len(commands) == 1:
                return [error]
            # One command that Postgres refuses must not take the others along.
            return [(await self._commit([command]))[0] for command in commands]
        for batch in _batches(written, awaited=any(command.awaited for command in commands)):
            self._publisher.publish(batch)
        _tell(written.entries)
        return [_outcome(command, written) for command in commands]

    async def _write_with_retries(self, commands: Sequence[RevocationCommand]) -> _Written:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._write(commands)
            except StoreContendedError:
                continue  # a deadlock with an operator's hand-written SQL, or a lock held too long
        return await self._write(commands)

    async def _write(self, commands: Sequence[RevocationCommand]) -> _Written:
        # Of two commands in one batch under one key, the first is the one; the other repeats it.
        firsts: dict[Key, RevocationCommand] = {}
        for command in commands:
            firsts.setdefault(command.claim.key, command)
        began_ns = self._clock.monotonic_raw_ns()
        async with self._transactions.begin() as transaction:
            # Keys in sorted order, and before the head: every batch of every authority waits in
            # the same order, so that none waits in a circle.
            claims = [firsts[key].claim for key in sorted(firsts)]
            claimed = dict(await transaction.claim(claims))
            refused: dict[Key, RescindError] = {}
            fresh, ends = await _changed(
                transaction,
                [command for key, command in firsts.items() if claimed[key].answer is None],
                refused,
            )
            if not fresh:
                return _Written(Position(0, 0, b""), (), {}, claimed, refused)
            # The head last: while it is held, nobody else commits an event.
            tip = await transaction.lock_head()
            entries = _chain(tip, fresh)
            # Of a command with two events the last one stays: it is enforced after the first.
            last = {entry.event.revocation.revocation_id: entry for entry in entries}
            answers = {
                command.claim.key: _remember(last[command.revocation.revocation_id])
                for command in fresh
            }
            await transaction.append(
                entries,
                exact={command.revocation.revocation_id for command in fresh if command.exact},
                head=Position(tip.position.epoch, entries[-1].event.seq, entries[-1].head),
                answers=answers,
                # What an event ends, ends at its position, in the commit that makes it one.
                ends={
                    ends[command.claim.key]: last[command.revocation.revocation_id].event.seq
                    for command in fresh
                    if command.claim.key in ends
                },
            )
        self._metrics.committed(
            events=len(entries), seconds=(self._clock.monotonic_raw_ns() - began_ns) / 1e9
        )
        return _Written(tip.position, entries, answers, claimed, refused)


async def _changed(
    transaction: LedgerTransaction,
    commands: Sequence[RevocationCommand],
    refused: dict[Key, RescindError],
) -> tuple[Sequence[RevocationCommand], dict[Key, End]]:
    """Change tokens, in sorted order; leave out the commands whose token is not as they expect.

    Return the commands that are left, and what the event of each ends. Why a key's command was left
    out is put into `refused`.
    """
    changes = {
        command.claim.key: (command.change, command.warrant)
        for command in commands
        if command.change is not None
    }
    ends: dict[Key, End] = {}
    for key, (change, warrant) in sorted(
        changes.items(), key=lambda each: (each[1][0].token_id, each[0])
    ):
        if warrant is not None:
            presented = await transaction.presented(warrant.token_hash)
            try:
                warrant.judge(presented)
            except RescindError as error:
                refused[key] = error
                continue
        done = await transaction.change(change)
        if done is None:
            refused[key] = TokenMovedError()
        elif done.end is not None:
            ends[key] = done.end
    return [command for command in commands if command.claim.key not in refused], ends


def _chain(tip: LedgerTip, commands: Sequence[RevocationCommand]) -> tuple[LedgerEntry, ...]:
    """Number commands from the head on, and chain their payloads."""
    position = tip.position
    entries: list[LedgerEntry] = []
    for revocation in (each for command in commands for each in command.revocations):
        event = Event(position.epoch, position.seq + 1, tip.at_us, revocation)
        payload = events.encode(event)
        position = position.after(payload)
        entries.append(LedgerEntry(event, payload, position.head))
    return tuple(entries)


def _batches(written: _Written, *, awaited: bool) -> Iterator[Batch]:
    """Cut what one transaction added into messages: usually one."""
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


def _tell(entries: Sequence[LedgerEntry]) -> None:
    """Log each revocation; of a large batch only where it lies, for the ledger has the rest."""
    if len(entries) > _MOST_LINES:
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


def _outcome(command: RevocationCommand, written: _Written) -> Committed | RescindError:
    key = command.claim.key
    first = written.claimed[key]
    if first.body_hash != command.claim.body_hash:
        return KeyReusedError()
    if first.answer is not None:
        return _recall(first.answer)
    refusal = written.refused.get(key)
    return refusal or replace(_recall(written.answers[key]), fresh=True)


def _remember(entry: LedgerEntry) -> str:
    event = entry.event
    return json.dumps(
        {
            "id": event.revocation.revocation_id,
            "epoch": event.epoch,
            "seq": event.seq,
            "at_us": event.at_us,
        }
    )


def _recall(answer: str) -> Committed:
    stored = json.loads(answer)
    return Committed(stored["id"], stored["epoch"], stored["seq"], stored["at_us"])
