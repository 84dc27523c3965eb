"""`/v1/fleet`: the sidecars, with the position that each has acknowledged."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import InjectedUseCases, Reader, RevokerActor
from rescind_authority.http.revocations.requests import CommandReason
from rescind_authority.usecases.read_model.inspector import Liveness, SeenInstance

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


class InstanceFacts(BaseModel):
    """One sidecar process."""

    instance: str = Field(description="Its id, in hex.")
    service: str
    host: str
    version: str
    posture: str
    state: Liveness = Field(description="`silent`: no heartbeat for a whole lease term.")
    epoch: int | None
    applied_seq: int | None = Field(description="The seq that it reported as applied.")
    acked_seq: int = Field(description="The same, if its hash chain agrees with the ledger's.")
    lease_left_ms: int = Field(
        description="The longest time for which its lease can still be valid."
    )
    overdue: bool = Field(
        description="True: it is live, and was silent for more than half of the term. Sidecars "
        "send a heartbeat at least each quarter."
    )
    lag: int = Field(description="The number of events that it has not acknowledged.")
    first_seen: datetime
    last_seen: datetime
    released_at: datetime | None
    credential: str | None = Field(description="The id of the token that it enrolled with.")
    evicted_at: datetime | None
    evicted_why: str | None
    trust_serial: int | None = Field(
        description="The serial of the trust statement that it uses. Null: an older version, "
        "which does not report it."
    )


class EvictRequest(CommandReason):
    """The reason for an eviction."""


class EvictedFacts(BaseModel):
    """An evicted instance, which gets no further lease."""

    instance: str
    service: str
    evicted_at: datetime
    evicted_why: str
    lease_ends_at: datetime = Field(
        description="The latest end of its last lease, which receipts wait for. A grace that it "
        "declared follows."
    )


class FleetFacts(BaseModel):
    """The ledger's end, and every known sidecar."""

    epoch: int
    seq: int
    head: str = Field(description="The hash of the ledger up to `seq`, in hex.")
    grant_term_ms: int
    ended: int = Field(description="The number of instances that ended and are not listed.")
    instances: list[InstanceFacts]


class FleetQuery(BaseModel):
    """The sidecars to list."""

    model_config = ConfigDict(extra="forbid")

    ended: bool = Field(
        default=False,
        description="List also the instances that ended in the last hour: released, or silent for "
        "ten minutes.",
    )


@router.get("", summary="List the sidecars")
async def fleet(
    query: Annotated[FleetQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> FleetFacts:
    """List the sidecars, with the position that each has acknowledged."""
    seen = await use_cases.inspector.fleet(ended=query.ended)
    position = seen.tip.position
    return FleetFacts(
        epoch=position.epoch,
        seq=position.seq,
        head=position.head.hex(),
        grant_term_ms=seen.tip.grant_term_ms,
        ended=seen.ended,
        instances=[_facts_of(each) for each in seen.instances],
    )


@router.post(
    "/{instance}/evict",
    summary="Evict a sidecar",
    responses=problems.openapi_responses({404: "There is no such sidecar."}),
)
async def evict(
    instance: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    body: EvictRequest,
    actor: RevokerActor,
    use_cases: InjectedUseCases,
) -> EvictedFacts:
    """End an instance permanently: no lease, no events, and no enrolment under this id.

    Its process may enrol a new instance when it starts again, while its credential is valid. To
    keep a service out, revoke the credential. A repeated eviction changes nothing.
    """
    name = bytes.fromhex(instance)
    evicted = await use_cases.membership.evict(name, reason=body.reason, actor=actor)
    return EvictedFacts(
        instance=instance,
        service=evicted.service,
        evicted_at=timestamps.from_us(evicted.at_us),
        evicted_why=evicted.why,
        lease_ends_at=timestamps.from_us(evicted.lease_ends_at_us),
    )


def _facts_of(seen: SeenInstance) -> InstanceFacts:
    instance = seen.instance
    return InstanceFacts(
        instance=instance.instance.hex(),
        service=instance.service,
        host=instance.host,
        version=instance.version,
        posture=instance.posture,
        state=seen.liveness,
        epoch=instance.epoch,
        applied_seq=instance.applied_seq,
        acked_seq=instance.acked_seq,
        lease_left_ms=seen.lease_left_ms,
        overdue=seen.overdue,
        lag=seen.lag,
        first_seen=timestamps.from_us(instance.first_seen_us),
        last_seen=timestamps.from_us(instance.last_seen_us),
        released_at=timestamps.maybe_from_us(instance.released_at_us),
        credential=instance.credential,
        evicted_at=timestamps.maybe_from_us(instance.evicted_at_us),
        evicted_why=instance.evicted_why,
        trust_serial=instance.trust_serial,
    )
