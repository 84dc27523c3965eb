"""The data plane over HTTP: forward-auth for proxies, and a check for any language.

It is a workload like any other: it asks through a Verifier, and sees nothing of the sidecar.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.integrations import bearer

_NO_STORE = {"cache-control": "no-store"}
_STALE = frozenset({Reason.NO_LEASE, Reason.UNAVAILABLE})
_UNAUTHORIZED = 401


class Asked(BaseModel):
    """The body of `POST /v1/check`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: Annotated[str, Field(max_length=1024)]
    require: list[str] = []
    audience: str | None = None


def application(
    verifier: Verifier, *, stale_status: int, operations: Iterable[BaseRoute]
) -> Starlette:
    """Make the application."""
    verify = Verify(verifier, stale_status=stale_status)

    async def check(request: Request) -> Response:
        return await _check(verifier, request)

    return Starlette(
        routes=[
            Route("/verify", verify),
            Route("/verify/{rest:path}", verify),
            Route("/v1/check", check, methods=["POST"]),
            *operations,
        ]
    )


class Verify:
    """Answer a proxy about the call that it holds: any method, any path after `/verify`."""

    def __init__(self, verifier: Verifier, *, stale_status: int) -> None:
        self._verifier = verifier
        self._stale_status = stale_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        response = await self._answer(Request(scope))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        require = [
            scope for text in request.query_params.getlist("require") for scope in text.split()
        ]
        audience = request.query_params.get("audience")
        token = bearer.find(request.scope["headers"])
        if token is None:
            return _refused(bearer.unauthenticated())
        freshness = self._verifier.freshness()
        match await self._verifier.acheck(token, require=require, audience=audience):
            case Allowed(record):
                return Response(headers=_NO_STORE | _told(record, freshness.as_of))
            case Denied(reason):
                refusal = bearer.refuse(reason, require=require)
                stale = reason in _STALE and self._stale_status == _UNAUTHORIZED
                return _refused(refusal, status=_UNAUTHORIZED if stale else refusal.status)


def _refused(refusal: bearer.Refusal, *, status: int | None = None) -> Response:
    return Response(refusal.body, status or refusal.status, headers=dict(refusal.headers))


def _told(record: Record, as_of: int) -> dict[str, str]:
    return {
        "x-rescind-subject": record.subject,
        "x-rescind-kind": record.kind,
        "x-rescind-token-id": record.token_id,
        "x-rescind-scopes": " ".join(sorted(record.scopes)),
        "x-rescind-chain": " ".join(record.chain),
        "x-rescind-as-of": str(max(as_of, record.as_of)),
    }


async def _check(verifier: Verifier, request: Request) -> Response:
    try:
        asked = Asked.model_validate_json(await request.body())
    except ValidationError as error:
        return _unusable(error)
    freshness = verifier.freshness()
    verdict = await verifier.acheck(asked.token, require=asked.require, audience=asked.audience)
    match verdict:
        case Allowed(record):
            answer: dict[str, object] = {
                "active": True,
                "record": _document(record),
                "as_of": max(freshness.as_of, record.as_of),
                "fresh_for_ms": freshness.fresh_for_ms,
            }
        case Denied(reason):
            answer = {"active": False, "reason": reason}
    return JSONResponse(answer, headers=_NO_STORE)


def _document(record: Record) -> dict[str, object]:
    return {
        "token_id": record.token_id,
        "kind": record.kind,
        "subject": record.subject,
        "scopes": sorted(record.scopes),
        "audience": sorted(record.audience),
        "tenant": record.tenant,
        "client": record.client,
        "session": record.session,
        "labels": dict(record.labels),
        "lineage": list(record.lineage),
        "chain": list(record.chain),
        "issued_at": record.issued_at_us / 1_000_000,
        "expires_at": record.expires_at,
    }


def _unusable(error: ValidationError) -> Response:
    problems = [
        {"field": ".".join(map(str, detail["loc"])), "problem": detail["msg"]}
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return JSONResponse(
        {
            "type": "urn:rescind:problem:invalid-request",
            "title": "The request cannot be read",
            "status": 422,
            "detail": 'Send {"token": text, "require": [scope, …], "audience": text or null}.',
            "errors": problems,
        },
        status_code=422,
        headers=_NO_STORE,
        media_type="application/problem+json",
    )
