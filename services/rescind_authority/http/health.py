"""`/healthz`, `/readyz`, `/metrics`: open to every client, and free of secrets."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from rescind_authority.http.dependencies import InjectedUseCases
from rescind_authority.ports.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The answer of a running process."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The readiness of the authority and of each of its parts."""

    status: Literal["ready", "unavailable"]
    postgres: str = Field(description="`ok`, or the fault.")
    nats: str = Field(description="`ok`, or the fault. Only speed depends on NATS.")
    trust: str = Field(
        description="`ok`, or the time until which sidecars accept this authority's keys."
    )
    version: str = Field(description="The version of the authority.")


@router.get("/healthz", summary="Check liveness")
async def healthz() -> Alive:
    """Return 200 while the process can answer."""
    return Alive()


@router.get(
    "/readyz",
    summary="Check readiness",
    responses={503: {"model": Ready, "description": "Postgres is unreachable or not migrated."}},
)
async def readyz(response: Response, use_cases: InjectedUseCases) -> Ready:
    """Return 200 if Postgres answers and is migrated, else 503.

    NATS is reported, but not required.
    """
    health = await use_cases.health()
    if not health.ready:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
    return Ready(
        status="ready" if health.ready else "unavailable",
        postgres=health.postgres,
        nats=health.nats,
        trust=health.trust,
        version=version("rescind"),
    )


@router.get("/metrics", summary="Read the metrics", response_class=Response)
async def metrics(use_cases: InjectedUseCases) -> Response:
    """Return the metrics in Prometheus's text format."""
    return Response(use_cases.metrics.render(), media_type=CONTENT_TYPE)
