"""Take back what a restore lost, from the sidecars that heard it (design 4).

The events are believed for their signature, not for who brings them. Of those that this ledger has
not, whatever takes power away comes back as a new event; a lift does not, for nobody knows what
else was lost before it. A revoke hits what was issued up to its new place: tokens that came
between the restore and the offer as well. Positions decide here too, and the safe side is that one.

Of a rotation or an early end the event says that the token changed, and not how: the new secret and
the end were in rows that are gone. So that neither a secret that was rotated away nor a token that
was ended lives again, such an event comes back as a revoke of that token alone; what was delegated
from it stands on its own grant. An end that came by itself at its time is left out: if the ledger
has what set that time, it comes by itself again, and if not, what set it comes back.
"""

import hashlib

import structlog

from rescind.core.revocation import Effect, Event, Revocation
from rescind.errors import MalformedMessageError
from rescind.wire import events, sealed
from rescind.wire.trust import Purpose
from rescind_authority.ports.keys import Entropy, Keys
from rescind_authority.ports.ledger import Claim, Epochs, Key
from rescind_authority.usecases import naming
from rescind_authority.usecases.sequence import Command, Sequencer
from rescind_runtime.clock import Clock

ACTOR = "rescind:salvage"
_TAKEN_BACK = frozenset({Effect.REVOKE, Effect.SUSPEND, Effect.NARROW, Effect.CHANGED})
_COMES_BY_ITSELF = "rescind:ends"
"""The actor of ends that were set for a time."""
_MOST_KNOWN = 100_000
_LONGEST_REASON = 512

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Salvage:
    """Commit what was lost, once, however many sidecars bring it."""

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

    async def take(self, payload: bytes) -> bool:
        """Take one signed batch; say whether older ones may be lost too.

        Raises MalformedMessageError for what nobody signed, or what is of this epoch or a later.
        """
        if not self._keys.verify(Purpose.EVENTS, sealed.decode(payload)):
            raise MalformedMessageError("offer", "no key of ours signed the batch")
        batch = events.decode_batch(payload)
        epochs = await self._epochs.known()
        if batch.epoch >= epochs[-1].number:
            raise MalformedMessageError("offer", "the batch is not of an earlier epoch")
        # By its bytes, not by its place, which another event may have taken since the restore.
        offered = dict(enumerate(batch.payloads, start=batch.first_seq))
        held = await self._epochs.payloads(offered.keys())
        lost = [each for seq, each in offered.items() if held.get(seq) != each]
        for each in lost:
            await self._take_back(each, epochs[-1].number)
        return len(lost) == len(offered)

    async def _take_back(self, payload: bytes, epoch: int) -> None:
        event, digest = events.decode(payload), hashlib.sha256(payload).digest()
        if not _is_taken_back(event.revocation) or (epoch, digest) in self._known:
            return
        name = f"{event.epoch}.{event.seq}"
        key = Key(ACTOR, f"{name}.{digest.hex()}")
        committed = await self._sequencer.commit(
            Command(Claim(key, digest), self._again(event), exact=True)
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

    def _again(self, event: Event) -> Revocation:
        lost = event.revocation
        reason = (
            f"lost in a restore: {lost.revocation_id}, {event.epoch}.{event.seq}, "
            f"by {lost.actor}: {lost.reason}"
        )
        return Revocation(
            revocation_id=naming.name("rev", self._clock, self._entropy),
            selector=lost.selector,
            effect=Effect.REVOKE if lost.effect == Effect.CHANGED else lost.effect,
            reason=reason[:_LONGEST_REASON],
            actor=ACTOR,
            issued_before_us=lost.issued_before_us,
            until_us=lost.until_us,
            scopes=lost.scopes,
        )


def _is_taken_back(lost: Revocation) -> bool:
    """Return True for what takes power away, unless it comes by itself."""
    if lost.effect == Effect.CHANGED and lost.actor == _COMES_BY_ITSELF:
        return False
    return lost.effect in _TAKEN_BACK
