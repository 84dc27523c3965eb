"""Entries of a ledger, appended through its port as the sequencer does."""

from collections.abc import Collection, Mapping, Sequence

from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind.wire import events
from rescind_authority.ports.ledger import End, Key, LedgerEntry, LedgerTip, LedgerTransaction


async def append(
    transaction: LedgerTransaction,
    revocations: Sequence[Revocation],
    *,
    answers: Mapping[Key, str] | None = None,
    ends: Sequence[End] = (),
    exact: Collection[str] = (),
) -> Sequence[LedgerEntry]:
    """Append an event for each revocation; the last event ends the named tokens.

    `exact` names the revocations that were requested without descendants.
    """
    tip = await transaction.lock_head()
    entries = chain(tip, revocations)
    last = entries[-1]
    await transaction.append(
        entries,
        exact=exact,
        head=Position(tip.position.epoch, last.event.seq, last.head),
        answers=answers or {},
        ends=dict.fromkeys(ends, last.event.seq),
    )
    return entries


def chain(tip: LedgerTip, revocations: Sequence[Revocation]) -> Sequence[LedgerEntry]:
    """Return the entries that follow a tip."""
    position, entries = tip.position, list[LedgerEntry]()
    for revocation in revocations:
        event = Event(position.epoch, position.seq + 1, tip.at_us, revocation)
        payload = events.encode(event)
        position = position.after(payload)
        entries.append(LedgerEntry(event, payload, position.head))
    return entries
