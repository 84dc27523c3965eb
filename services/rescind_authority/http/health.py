"""`/healthz`, `/readyz`, `/metrics`: open to every client, and free of secrets."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from rescind_authority.http.dependencies import Authority
from rescind_authority.ports.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether the authority can do its work, part by part."""

    status: Literal["ready", "unavailable"]
    postgres: str = Field(description="`ok`, or what is wrong.")
    nats: str = Field(description="`ok`, or what is wrong; nothing but speed depends on it.")
    trust: str = Field(description="`ok`, or until when sidecars believe this authority's keys.")
    version: str = Field(description="Of the authority.")


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Return an answer as long as the process can."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can it do its work?",
    responses={503: {"model": Ready, "description": "Postgres is away or not migrated."}},
)
async def readyz(response: Response, authority: Authority) -> Ready:
    """Return whether Postgres answers and is migrated; NATS is reported, not required."""
    health = await authority.health()
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


@router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
async def metrics(authority: Authority) -> Response:
    """Write the metrics in Prometheus's text format."""
    return Response(authority.metrics.render(), media_type=CONTENT_TYPE)
