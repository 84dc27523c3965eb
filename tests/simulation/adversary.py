"""An adversary that receives and sends everything on NATS, and has no key."""

from collections.abc import Sequence

from tests.simulation.authority import Authority
from tests.simulation.workload import Place

from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind.wire import events, heartbeat, nats_subjects, signed_envelope
from rescind.wire.events import Batch
from rescind.wire.signed_envelope import SignedEnvelope


def attack(places: Sequence[Place], authorities: Sequence[Authority], payload: bytes) -> None:
    """Answer a push with forged acknowledgements of all sidecars, and with a forged push."""
    batch = events.decode_batch(payload)
    last = batch.first_seq + len(batch.payloads) - 1
    end = Position(batch.epoch, last, batch.after)
    forged = _lift_of_everything(end)
    for place in places:
        sidecar = place.sidecar
        if sidecar is None or not sidecar.alive:
            continue
        current = sidecar.instances.current
        instance, trail = current.instance, current.attempts.trail  # NATS carries both
        content = heartbeat.encode_ack(heartbeat.Ack(instance, 1 << 20, end, trail))
        for authority in authorities:
            authority.receive(
                nats_subjects.ACK,
                signed_envelope.encode(SignedEnvelope(content, instance, bytes(32))),
            )
        if last % 4 == 0:
            sidecar.follow.receive_push(forged)


def _lift_of_everything(end: Position) -> bytes:
    revocation = Revocation("rev_0", Selector((Handle("*"),)), "lift", "", "", lifts="rev_1")
    payload = events.encode(Event(end.epoch, end.seq + 1, 0, revocation))
    batch = Batch(
        epoch=end.epoch,
        first_seq=end.seq + 1,
        before=end.head,
        after=end.after(payload).head,
        awaited=False,
        payloads=(payload,),
    )
    return events.encode_batch(batch, lambda content: SignedEnvelope(content, bytes(8), bytes(32)))
