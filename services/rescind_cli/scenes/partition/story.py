"""The story: one of three sidecars is cut off, a token is revoked, and `wait` says when it is over.

As in the demo everything is real. The sidecar that is cut off lives on and answers from memory: a
wire of ours lies in its way to NATS and to the authority, and is cut. The lease term is short so
that it fits into a minute; with the default of 10 s the same takes longer.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from rescind.client.admin import AsyncAdmin, Document
from rescind_cli.scenes import stage
from rescind_cli.scenes.calls import Call, SceneError
from rescind_cli.scenes.partition import findings, wire
from rescind_cli.scenes.partition.findings import Lane, Moments
from rescind_cli.scenes.partition.wire import Wire
from rescind_cli.scenes.stage import REVOKED, SERVICES
from rescind_cli.scenes.timeline import Claim
from rescind_cli.stack import System
from rescind_runtime import clock

CUT_OFF = "billing"
TERM_S = 4.0
LEASE_S = 0.9 * TERM_S  # design 7
_HEARTBEAT_S = 1.0

_BEFORE_S = 1.0
_CUT_BEFORE_S = 1.0
_AFTER_S = 1.2
_RECOVERY_S = 15.0
_RECOVERED_S = 0.8
_TIMEOUT_S = 30.0
_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

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
    """Run the story in a directory that is gone afterwards. Raises RescindError in plain words."""
    async with (
        wire.laid() as cable,
        stage.running(
            environ,
            say=say,
            reach=lambda service, told: _told(service, told, cable),
            RESCIND_TERM=str(TERM_S),
            RESCIND_HEARTBEAT_S=str(_HEARTBEAT_S),
        ) as here,
        here.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        pair = await stage.issue(admin)
        async with stage.calling(here, pair.secrets, say=say) as traffic:
            await asyncio.sleep(_BEFORE_S)
            revocation, moments = await _partition(admin, pair.revoked_id, cable, say)
            say(f"{CUT_OFF} is connected again")
            await _recovery(here.system)
    return _outcome(revocation, moments, tuple(traffic.made))


def _told(service: str, told: Mapping[str, str], cable: Wire) -> Mapping[str, str]:
    """Lead every way out of the one sidecar through the wire."""
    if service != CUT_OFF:
        return told
    # Redis is on a unix socket, which no network cuts. So this one goes without it.
    kept = {name: text for name, text in told.items() if name != "RESCIND_REDIS_URL"}
    ways = {name: cable.through(told[name]) for name in ("RESCIND_NATS_URL", "RESCIND_URL")}
    return kept | ways


async def _partition(
    admin: AsyncAdmin, token_id: str, cable: Wire, say: Callable[[str], None]
) -> tuple[Document, Moments]:
    """Cut the wire, revoke and wait; the wire is whole again at the end."""
    say(f"{CUT_OFF} is cut off")
    cut_ns = clock.boottime_ns()
    with cable.cut():
        await asyncio.sleep(_CUT_BEFORE_S)
        say("revoking, and waiting for the receipt")
        revocation = await admin.revoke(
            f"token:{token_id}", reason="the demo", wait=True, timeout=_TIMEOUT_S / 2
        )
        receipt_ns = clock.boottime_ns()
        if revocation["state"] != "enforced":
            raise SceneError(f"there was no receipt in {_TIMEOUT_S / 2:.0f} s")
        say("the receipt is here")
        await asyncio.sleep(_AFTER_S)
        healed_ns = clock.boottime_ns()
    return revocation, Moments(
        cut_ns=cut_ns,
        commit_ns=stage.boottime_ns(revocation["committed_at"]),
        lapse_ns=cut_ns + int(LEASE_S * 1e9),
        receipt_ns=receipt_ns,
        healed_ns=healed_ns,
    )


async def _recovery(system: System) -> None:
    """Wait until the sidecar holds a lease again, and then a little for the calls to show it.

    One that does not come back is no error here: the claims will say so.
    """
    (url,) = [sidecar.http for sidecar in system.sidecars if sidecar.service == CUT_OFF]
    async with httpx2.AsyncClient(trust_env=False) as client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECOVERY_S):
                while (  # noqa: ASYNC110 - another process has no event to wait for
                    await client.get(f"{url}/readyz")
                ).status_code != HTTPStatus.OK:
                    await asyncio.sleep(_AGAIN_S)
    await asyncio.sleep(_RECOVERED_S)


def _outcome(revocation: Document, moments: Moments, made: tuple[Call, ...]) -> Outcome:
    lanes = findings.lanes(
        made,
        moments,
        revocation["receipt"],
        services=SERVICES,
        cut_off=CUT_OFF,
        revoked=REVOKED,
    )
    return Outcome(revocation, moments, made, lanes, findings.claims(lanes, moments))
