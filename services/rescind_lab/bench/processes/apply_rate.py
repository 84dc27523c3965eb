"""Measure the rate at which a sidecar applies events, without other load.

    python -m rescind_lab.bench.processes.apply_rate EVENTS

A view with a real table applies batches in the form in which NATS delivers them. The ready line
contains the time that this took.
"""

import os
import secrets
import sys
import tempfile
from pathlib import Path

from rescind.client.clock import boot_id
from rescind.core import ledger
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.revocation import Effect, Event, Revocation
from rescind.wire import events, heartbeat, signed_envelope
from rescind.wire.events import Batch
from rescind_runtime import clock, ready_line, supervise
from rescind_runtime.supervise import Stop
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.view.view import Current, View

_TERM_MS = 60_000


def _build_batches(count: int) -> list[bytes]:
    """Return `count` events of a ledger, in encoded batches."""
    position = ledger.genesis(1)
    batches: list[bytes] = []
    for first in range(1, count + 1, events.MAX_EVENTS):
        before, payloads = position, list[bytes]()
        for seq in range(first, min(first + events.MAX_EVENTS, count + 1)):
            payloads.append(events.encode(_build_event(seq)))
            position = position.after(payloads[-1])
        batch = Batch(
            epoch=1,
            first_seq=first,
            before=before.head,
            after=position.head,
            awaited=False,
            payloads=tuple(payloads),
        )
        batches.append(events.encode_batch(batch, signed_envelope.unsigned))
    return batches


def _build_event(seq: int) -> Event:
    return Event(
        epoch=1,
        seq=seq,
        at_us=clock.wall_us(),
        revocation=Revocation(
            revocation_id=f"rev_{seq:026}",
            selector=Selector((Handle(f"tree:tok_{seq:026}"),)),
            effect=Effect.REVOKE,
            reason="a measurement",
            actor="admin:bench",
        ),
    )


def _apply_all(view: View, batches: list[bytes]) -> float:
    """Apply batches to a view, and return the time of all, in seconds."""
    began_ns = clock.monotonic_raw_ns()
    for payload in batches:
        progress = view.apply_push(events.decode_batch(payload))
        assert isinstance(progress, Current), progress  # noqa: S101 - else the figure is invalid
    return (clock.monotonic_raw_ns() - began_ns) / 1e9


def _grant_first_lease(view: View) -> View:
    """Apply a first lease at the beginning of the ledger to a view, and return the view."""
    reply = heartbeat.Reply(
        instance=bytes(heartbeat.INSTANCE_BYTES),
        nonce=bytes(heartbeat.NONCE_BYTES),
        position=Position(1, 0, ledger.genesis(1).head),
        grant_term_ms=_TERM_MS,
        authority_us=clock.wall_us(),
        payloads=(),
    )
    now_ns = clock.boottime_ns()
    view.accept_lease(reply, carried=None, sent_ns=now_ns, received_ns=now_ns)
    return view


async def _main(_stop: Stop) -> None:
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="rescind-measure-") as folder:
        tables = TableFile(Path(folder, "measured.sock"), boot=boot_id())
        with tables.locked():
            view = _grant_first_lease(
                View(tables.begin(secrets.token_bytes(heartbeat.INSTANCE_BYTES)))
            )
            seconds = _apply_all(view, _build_batches(count))
            tables.retire()
    ready_line.announce(pid=os.getpid(), events=count, seconds=seconds)


if __name__ == "__main__":
    supervise.run(_main, name="sidecar measure")
