"""The demo: an agent with two tokens calls three services, and one token is revoked.

It measures when each service denies. Everything is real: the servers of `rescind up`, three
services as processes of their own with the middleware and a sidecar each, and the agent as another
process. Every printed figure is measured.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, RevocationDetails
from rescind_lab.demo import environment, timeline
from rescind_lab.demo.acknowledgements import AcknowledgementTimes
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.environment import REVOKED, SERVICES
from rescind_lab.demo.timeline import Assertion, RevocationTimes, ServiceLane
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.local_system.stack import System
from rescind_runtime.net import nats_connection

_BEFORE_S = 2.0
_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class RevocationOutcome:
    """The outcome of the demo."""

    revocation: RevocationDetails
    moments: RevocationTimes
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[ServiceLane, ...]
    claims: tuple[Assertion, ...]

    @property
    def ok(self) -> bool:
        """Whether every claim was measured to hold."""
        return all(claim.holds for claim in self.claims)


async def play(
    environ: Mapping[str, str], *, show_step: Callable[[str], None]
) -> RevocationOutcome:
    """Run the demo in a directory that is deleted afterwards. Raises RescindError."""
    async with environment.running(environ, show_step=show_step) as here, here.admin() as admin:
        pair = await environment.issue(admin)
        async with environment.calling(here, pair.secrets, show_step=show_step) as traffic:
            await asyncio.sleep(_BEFORE_S)
            revocation, moments = await _revoke(here.system, admin, pair.revoked_id)
            await asyncio.sleep(_AFTER_S)
    return _outcome(revocation, moments, tuple(traffic.made))


async def _revoke(
    system: System, admin: AsyncAdmin, token_id: str
) -> tuple[RevocationDetails, RevocationTimes]:
    """Revoke a token, and record when each sidecar acknowledged it."""
    fleet = await admin.fleet()
    epoch, seq = int(fleet["epoch"]), int(fleet["seq"]) + 1
    instances = {bytes.fromhex(each.instance): each.service for each in system.sidecars}
    async with nats_connection.connection(system.nats, name="rescind-demo") as client:
        acknowledgements = AcknowledgementTimes(client, instances)
        await acknowledgements.listen(epoch=epoch, seq=seq)
        revocation = await admin.revoke(f"token:{token_id}", reason="the demo")
        answered_ns = clock.boottime_ns()
        if (revocation["epoch"], revocation["seq"]) != (epoch, seq):
            raise SceneError("another client revoked something in the demo's own system")
        acknowledged_ns = await acknowledgements.arrivals(epoch=epoch, seq=seq)
    return revocation, RevocationTimes(
        commit_ns=environment.boottime_ns(revocation["committed_at"]),
        answered_ns=answered_ns,
        acknowledged_ns=acknowledged_ns,
    )


def _outcome(
    revocation: RevocationDetails, moments: RevocationTimes, made: tuple[MeasuredCall, ...]
) -> RevocationOutcome:
    lanes = timeline.lanes(made, moments, services=SERVICES, revoked=REVOKED)
    return RevocationOutcome(revocation, moments, made, lanes, timeline.claims(lanes))
