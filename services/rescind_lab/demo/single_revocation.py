"""The demo: an agent with two tokens calls three services, and one token is revoked.

It measures when each service denies the revoked token. Nothing is simulated: the demo starts the
servers of `rescind up`, three services with the middleware and a sidecar each, and an agent. Each
service and the agent is a separate process.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, RevocationDetails
from rescind_lab.demo import system, timeline
from rescind_lab.demo.acknowledgements import AcknowledgementTimes
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.system import REVOKED, SERVICES
from rescind_lab.demo.timeline import MeasuredClaim, RevocationTimes, ServiceLane
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.local_system.stack import System
from rescind_runtime.net import nats_connection

_BEFORE_S = 2.0
_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class RevocationOutcome:
    """The outcome of the demo."""

    revocation: RevocationDetails
    times: RevocationTimes
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[ServiceLane, ...]
    claims: tuple[MeasuredClaim, ...]

    @property
    def ok(self) -> bool:
        """Return True if the measurement confirms every claim."""
        return all(claim.holds for claim in self.claims)


async def run(environ: Mapping[str, str], *, show_step: Callable[[str], None]) -> RevocationOutcome:
    """Run the demo in a directory that is deleted afterwards. Raises RescindError."""
    async with system.run_system(environ, show_step=show_step) as demo, demo.admin() as admin:
        tokens = await system.issue_tokens(admin)
        async with system.run_agent(demo, tokens.secrets, show_step=show_step) as agent:
            await asyncio.sleep(_BEFORE_S)
            revocation, times = await _revoke(demo.system, admin, tokens.revoked_id)
            await asyncio.sleep(_AFTER_S)
    return _build_outcome(revocation, times, tuple(agent.calls))


async def _revoke(
    local: System, admin: AsyncAdmin, token_id: str
) -> tuple[RevocationDetails, RevocationTimes]:
    """Revoke a token, and record when each sidecar acknowledged it."""
    fleet = await admin.fleet()
    epoch, seq = int(fleet["epoch"]), int(fleet["seq"]) + 1
    instances = {bytes.fromhex(each.instance): each.service for each in local.sidecars}
    async with nats_connection.connection(local.nats, name="rescind-demo") as client:
        acknowledgements = AcknowledgementTimes(client, instances)
        await acknowledgements.listen(epoch=epoch, seq=seq)
        revocation = await admin.revoke(f"token:{token_id}", reason="the demo")
        answered_ns = clock.boottime_ns()
        if (revocation["epoch"], revocation["seq"]) != (epoch, seq):
            raise LabError("another client revoked something in the demo's own system")
        acknowledged_ns = await acknowledgements.wait_for_all(epoch=epoch, seq=seq)
    return revocation, RevocationTimes(
        commit_ns=system.to_boottime_ns(revocation["committed_at"]),
        answered_ns=answered_ns,
        acknowledged_ns=acknowledged_ns,
    )


def _build_outcome(
    revocation: RevocationDetails, times: RevocationTimes, calls: tuple[MeasuredCall, ...]
) -> RevocationOutcome:
    lanes = timeline.build_lanes(calls, times, services=SERVICES, revoked=REVOKED)
    return RevocationOutcome(revocation, times, calls, lanes, timeline.check_claims(lanes))
