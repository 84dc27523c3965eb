"""Recover lost events of a restored ledger from sidecars (design 4).

An event is accepted only with the authority's signature; the sidecar that sends it is not trusted.
The authority commits each event again that this ledger lacks and that removes permissions. It does
not recover a lift, because it is unknown which other events were lost before the lift.

A recovered revoke gets a new seq. It therefore also hits tokens that were issued since the restore,
which errs on the side of denial.

The event of a rotation or an early end states that the token changed, but not how. The new secret
and the end were in rows that are lost. Such an event is recovered as a revoke of its target, so
neither a rotated secret nor an ended token becomes valid again. For a rotation, the revoke hits
the token alone. For an end, it also hits the tokens delegated from it.

A scheduled end is not recovered. If the ledger has the change that set its time, the token ends
again at that time. If the ledger lacks that change, the change is recovered.
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

_RECOVERED_EFFECTS = frozenset({Effect.REVOKE, Effect.SUSPEND, Effect.NARROW, Effect.CHANGED})
_MAX_REMEMBERED = 100_000
_MAX_REASON = 512

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
        self._recovered: set[tuple[int, bytes]] = set()

    async def recover(self, payload: bytes) -> bool:
        """Recover the lost events of one signed batch.

        Returns True if older batches may be lost too. Raises MalformedMessageError for a batch that
        no key of this installation signed, and for a batch of this epoch or a later one.
        """
        if not self._keys.verify(Purpose.EVENTS, signed_envelope.decode(payload)):
            raise MalformedMessageError(
                "offer", "the batch is not signed with a key of this installation"
            )
        batch = events.decode_batch(payload)
        epochs = await self._epochs.known()
        if batch.epoch >= epochs[-1].number:
            raise MalformedMessageError("offer", "the batch is not of an earlier epoch")
        # Compare the payloads: since the restore, another event may have got the seq.
        offered = dict(enumerate(batch.payloads, start=batch.first_seq))
        stored = await self._epochs.payloads(offered.keys())
        lost = [each for seq, each in offered.items() if stored.get(seq) != each]
        for each in lost:
            await self._recover_event(each, epoch=epochs[-1].number)
        return len(lost) == len(offered)

    async def _recover_event(self, payload: bytes, *, epoch: int) -> None:
        """Commit a lost event again, unless it was recovered or does not remove permissions."""
        event, digest = events.decode(payload), hashlib.sha256(payload).digest()
        if not _must_recover(event.revocation) or (epoch, digest) in self._recovered:
            return
        name = f"{event.epoch}.{event.seq}"
        key = Key(actors.RECOVERY, f"{name}.{digest.hex()}")
        committed = await self._sequencer.commit(
            LedgerCommand(IdempotentRequest(key, digest), self._revocation_for(event), exact=True)
        )
        if len(self._recovered) < _MAX_REMEMBERED:
            self._recovered.add((epoch, digest))
        _log.warning(
            "recovered an event that the restored ledger had lost",
            action="event.taken_back",
            lost=name,
            seq=committed.seq,
            id=committed.revocation_id,
        )

    def _revocation_for(self, event: Event) -> Revocation:
        """Return the revocation that recovers a lost event, with a new id."""
        lost = event.revocation
        reason = (
            f"lost in a restore: {lost.revocation_id}, {event.epoch}.{event.seq}, "
            f"by {lost.actor}: {lost.reason}"
        )
        return Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=lost.selector,
            effect=Effect.REVOKE if lost.effect == Effect.CHANGED else lost.effect,
            reason=reason[:_MAX_REASON],
            actor=actors.RECOVERY,
            issued_before_us=lost.issued_before_us,
            until_us=lost.until_us,
            scopes=lost.scopes,
        )


def _must_recover(revocation: Revocation) -> bool:
    """Return True for a revocation that removes permissions, unless it is a scheduled end."""
    if revocation.effect == Effect.CHANGED and revocation.actor == actors.SCHEDULED_END:
        return False
    return revocation.effect in _RECOVERED_EFFECTS
