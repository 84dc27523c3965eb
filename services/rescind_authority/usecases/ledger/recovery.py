"""Recover lost events of a restored ledger from sidecars (design 4).

The authority trusts the events for their signature, not for the sidecar that sends them. Each event
that this ledger lacks and that takes power away is committed again as a new event. A lift is not
committed again, because it is unknown which other events were lost before it. A revoke hits the
tokens that were issued up to its new place. So it also hits tokens that were issued between the
restore and the offer. Positions decide here too, and that is the safe side.

The event of a rotation or an early end records that the token changed, but not how. The new secret
and the end were in rows that are lost. Such an event is committed again as a revoke of its target.
So neither a rotated secret nor an ended token becomes valid again. For a rotation, the revoke hits
the token alone. For an end, it also hits the tokens delegated from it.

A scheduled end is left out. If the ledger has the change that set its time, the end happens by
itself again. If the ledger lacks that change, the change is recovered.
"""

import hashlib

import structlog

from rescind.core.revocation import Effect, Event, Revocation
from rescind.errors import MalformedMessageError
from rescind.wire import events, signed_envelope
from rescind.wire.trust_statement import Purpose
from rescind_authority import actors
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy, Keys
from rescind_authority.ports.ledger import Epochs, IdempotentRequest, Key
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer

_RECOVERED = frozenset({Effect.REVOKE, Effect.SUSPEND, Effect.NARROW, Effect.CHANGED})
_MOST_KNOWN = 100_000
_LONGEST_REASON = 512

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Recovery:
    """Commit each lost event once, however many sidecars offer it."""

    def __init__(
        self,
        epochs: Epochs,
        *,
        sequencer: Sequencer,
        keys: Keys,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._epochs = epochs
        self._sequencer = sequencer
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._known: set[tuple[int, bytes]] = set()

    async def recover(self, payload: bytes) -> bool:
        """Recover the lost events of one signed batch.

        Returns True if older batches may be lost too. Raises MalformedMessageError for a batch that
        no key of this installation signed, and for a batch of this epoch or a later one.
        """
        if not self._keys.verify(Purpose.EVENTS, signed_envelope.decode(payload)):
            raise MalformedMessageError("offer", "no key of ours signed the batch")
        batch = events.decode_batch(payload)
        epochs = await self._epochs.known()
        if batch.epoch >= epochs[-1].number:
            raise MalformedMessageError("offer", "the batch is not of an earlier epoch")
        # Compare the bytes, not the place, which another event may have taken since the restore.
        offered = dict(enumerate(batch.payloads, start=batch.first_seq))
        held = await self._epochs.payloads(offered.keys())
        lost = [each for seq, each in offered.items() if held.get(seq) != each]
        for each in lost:
            await self._recommit(each, epochs[-1].number)
        return len(lost) == len(offered)

    async def _recommit(self, payload: bytes, epoch: int) -> None:
        event, digest = events.decode(payload), hashlib.sha256(payload).digest()
        if not _is_recovered(event.revocation) or (epoch, digest) in self._known:
            return
        name = f"{event.epoch}.{event.seq}"
        key = Key(actors.RECOVERY, f"{name}.{digest.hex()}")
        committed = await self._sequencer.commit(
            LedgerCommand(IdempotentRequest(key, digest), self._copy(event), exact=True)
        )
        if len(self._known) < _MOST_KNOWN:
            self._known.add((epoch, digest))
        _log.warning(
            "took back an event that the restored ledger had lost",
            action="event.taken_back",
            lost=name,
            seq=committed.seq,
            id=committed.revocation_id,
        )

    def _copy(self, event: Event) -> Revocation:
        lost = event.revocation
        reason = (
            f"lost in a restore: {lost.revocation_id}, {event.epoch}.{event.seq}, "
            f"by {lost.actor}: {lost.reason}"
        )
        return Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=lost.selector,
            effect=Effect.REVOKE if lost.effect == Effect.CHANGED else lost.effect,
            reason=reason[:_LONGEST_REASON],
            actor=actors.RECOVERY,
            issued_before_us=lost.issued_before_us,
            until_us=lost.until_us,
            scopes=lost.scopes,
        )


def _is_recovered(lost: Revocation) -> bool:
    """Return True for an event that takes power away, unless it is a scheduled end."""
    if lost.effect == Effect.CHANGED and lost.actor == actors.SCHEDULED_END:
        return False
    return lost.effect in _RECOVERED
