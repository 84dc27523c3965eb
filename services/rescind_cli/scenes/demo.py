"""The demo: an agent with two tokens calls three services; one token is revoked; who noticed when?

Everything is real: the servers of `rescind up`, three services as processes of their own with the
middleware and a sidecar each, and the agent as another. Nothing that is printed is assumed.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, Document
from rescind_cli.scenes import stage, timeline
from rescind_cli.scenes.acknowledgements import Acknowledgements
from rescind_cli.scenes.calls import Call, SceneError
from rescind_cli.scenes.stage import REVOKED, SERVICES
from rescind_cli.scenes.timeline import Claim, Lane, Moments
from rescind_cli.stack import System
from rescind_runtime import bus, clock

_BEFORE_S = 2.0
_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo measured."""

    revocation: Document
    moments: Moments
    calls: tuple[Call, ...]
    lanes: tuple[Lane, ...]
    claims: tuple[Claim, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is claimed was measured."""
        return all(claim.holds for claim in self.claims)


async def play(environ: Mapping[str, str], *, say: Callable[[str], None]) -> Outcome:
    """Run the demo in a directory that is gone afterwards. Raises RescindError in plain words."""
    async with stage.running(environ, say=say) as here, here.admin() as admin:
        pair = await stage.issue(admin)
        async with stage.calling(here, pair.secrets, say=say) as traffic:
            await asyncio.sleep(_BEFORE_S)
            revocation, moments = await _revoke(here.system, admin, pair.revoked_id)
            await asyncio.sleep(_AFTER_S)
    return _outcome(revocation, moments, tuple(traffic.made))


async def _revoke(system: System, admin: AsyncAdmin, token_id: str) -> tuple[Document, Moments]:
    """Revoke a token, and note when everybody knew."""
    standing = await admin.fleet()
    epoch, seq = int(standing["epoch"]), int(standing["seq"]) + 1
    instances = {bytes.fromhex(each.instance): each.service for each in system.sidecars}
    async with bus.connection(system.nats, name="rescind-demo") as client:
        acknowledgements = Acknowledgements(client, instances)
        await acknowledgements.listen(epoch=epoch, seq=seq)
        revocation = await admin.revoke(f"token:{token_id}", reason="the demo")
        answered_ns = clock.boottime_ns()
        if (revocation["epoch"], revocation["seq"]) != (epoch, seq):
            raise SceneError("somebody else revoked something in the demo's own system")
        heard = await acknowledgements.of(epoch=epoch, seq=seq)
    return revocation, Moments(
        commit_ns=stage.boottime_ns(revocation["committed_at"]),
        answered_ns=answered_ns,
        acknowledged_ns=heard,
    )


def _outcome(revocation: Document, moments: Moments, made: tuple[Call, ...]) -> Outcome:
    lanes = timeline.lanes(made, moments, services=SERVICES, revoked=REVOKED)
    return Outcome(revocation, moments, made, lanes, timeline.claims(lanes))
