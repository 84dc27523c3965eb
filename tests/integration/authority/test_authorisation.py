"""Who may call what: every operation of the OpenAPI document by every scope, kind and state.

The document says which scopes admit, and the table here pins what it says. A new operation is in
the matrix as soon as it is in the document, and has to be entered here.
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.authority import Running

from rescind_authority.usecases.access.authoriser import ALL_SCOPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANYBODY = frozenset[str]()
BEARER = frozenset({"parent token"})
CLIENT = frozenset({"OAuth client"})

MATRIX: Mapping[tuple[str, str], frozenset[str]] = {
    ("POST", "/v1/tokens"): frozenset({"rescind:issue", "rescind:enrol"}),
    ("GET", "/v1/tokens"): frozenset({"rescind:read"}),
    ("GET", "/v1/tokens/count"): frozenset({"rescind:read"}),
    ("GET", "/v1/tokens/{token_id}"): frozenset({"rescind:read"}),
    ("POST", "/v1/tokens/look"): frozenset({"rescind:read"}),
    ("GET", "/v1/tokens/{token_id}/tree"): frozenset({"rescind:read"}),
    ("GET", "/v1/tokens/{token_id}/children"): frozenset({"rescind:read"}),
    ("POST", "/v1/tokens/{token_id}/rotate"): frozenset({"rescind:issue", "rescind:enrol"}),
    ("POST", "/v1/tokens/{token_id}/expire"): frozenset({"rescind:revoke"}),
    ("POST", "/v1/tokens/expire"): frozenset({"rescind:revoke"}),
    ("POST", "/v1/rotations"): BEARER,
    ("POST", "/v1/delegations"): BEARER,
    ("GET", "/v1/sessions"): BEARER,
    ("POST", "/v1/sessions/logout"): BEARER,
    ("POST", "/v1/revocations"): frozenset({"rescind:revoke"}),
    ("POST", "/v1/revocations/batch"): frozenset({"rescind:revoke"}),
    ("GET", "/v1/revocations"): frozenset({"rescind:read"}),
    ("GET", "/v1/revocations/{revocation_id}"): frozenset({"rescind:read"}),
    ("GET", "/v1/revocations/{revocation_id}/receipt"): frozenset({"rescind:read"}),
    ("POST", "/v1/revocations/{revocation_id}/lift"): frozenset({"rescind:lift"}),
    ("GET", "/v1/fleet"): frozenset({"rescind:read"}),
    ("POST", "/v1/fleet/{instance}/evict"): frozenset({"rescind:revoke"}),
    ("GET", "/v1/term"): frozenset({"rescind:admin"}),
    ("PUT", "/v1/term"): frozenset({"rescind:admin"}),
    ("GET", "/v1/events"): frozenset({"rescind:read"}),
    ("POST", "/v1/clients"): frozenset({"rescind:admin"}),
    ("GET", "/v1/clients"): frozenset({"rescind:read"}),
    ("GET", "/v1/clients/{client_id}"): frozenset({"rescind:read"}),
    ("POST", "/v1/clients/{client_id}/rotate"): frozenset({"rescind:admin"}),
    ("POST", "/v1/clients/{client_id}/remove"): frozenset({"rescind:admin"}),
    # The token that is exchanged, or the secret of a client, stands in the form, and authorises.
    ("POST", "/oauth/token"): ANYBODY,
    ("POST", "/oauth/introspect"): CLIENT,
    ("POST", "/oauth/revoke"): CLIENT,
    ("GET", "/oauth/authorize"): ANYBODY,
    ("GET", "/.well-known/oauth-authorization-server"): ANYBODY,
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/readyz"): ANYBODY,
    ("GET", "/metrics"): ANYBODY,
}


@dataclass(frozen=True)
class Caller:
    """Who calls: `scopes` are what counts; None: it is recognised nowhere."""

    name: str
    token: str | None
    scopes: frozenset[str] | None
    is_bearer: bool = False  # of a token that is good for what its bearer may do by itself


async def documented(shared: Running) -> dict[tuple[str, str], frozenset[str]]:
    """Read from the document which scopes admit to each operation."""
    document = (await shared.http.get("/openapi.json")).json()
    found: dict[tuple[str, str], frozenset[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            admitting: set[str] = set()
            for way in operation.get("security", []):
                for scheme, scopes in way.items():
                    own = scheme in {"parent token", "OAuth client"}
                    admitting |= {scheme} if own else set(scopes)
            assert admitting or not operation.get("security"), (method, path)
            found[method.upper(), path] = frozenset(admitting)
    return found


async def test_the_openapi_document_states_which_scopes_each_operation_admits(
    shared: Running,
) -> None:
    assert await documented(shared) == MATRIX


async def test_every_operation_admits_exactly_the_callers_that_the_document_names(
    shared: Running,
) -> None:
    callers = [*await living(shared), *await recognised_nowhere(shared)]
    wrong: list[str] = []
    free = asyncio.Semaphore(8)

    async def check(method: str, path: str, admits: frozenset[str], caller: Caller) -> None:
        async with free:
            status = await call(shared, method, path, caller.token)
        expected = expectation(admits, caller)
        if path.startswith("/v1/sessions") and expected is None and caller.name != "session":
            expected = 403  # recognised, and no session
        if (status in {401, 403} and status != expected) or (expected and status != expected):
            wrong.append(f"{method} {path} as {caller.name}: {status} in place of {expected}")

    async with asyncio.TaskGroup() as tasks:
        for ((method, path), admits), caller in itertools.product(
            (await documented(shared)).items(), callers
        ):
            # This one changes its bearer's secret, and that one ends its bearer.
            if path not in {"/v1/rotations", "/v1/sessions/logout"} or not caller.is_bearer:
                tasks.create_task(check(method, path, admits, caller))
    assert wrong == []


def expectation(admits: frozenset[str], caller: Caller) -> int | None:
    """Return the refusal that a caller is to get; None: it is admitted, whatever comes then."""
    if admits == ANYBODY:
        return None
    if admits == CLIENT:
        return 401  # no bearer token is the id and secret of a client
    if admits == BEARER:
        return None if caller.is_bearer else 401
    if caller.scopes is None:
        return 401
    return None if caller.scopes & admits else 403


async def call(shared: Running, method: str, path: str, token: str | None) -> int:
    """Send an operation without what it needs, so that nothing is changed by who is admitted."""
    headers = {"authorization": "" if token is None else f"Bearer {token}"}
    names = {"token_id": "tok_x", "revocation_id": "rev_x", "instance": "0" * 32}
    names |= {"client_id": "missing"}
    body: dict[str, object] | None = None if method == "GET" else {}
    url = path.format(**names) + ("?since=x" if path == "/v1/events" else "")
    if MATRIX[method, path] == CLIENT:
        form = {"token": "x"}
        return (await shared.http.post(url, data=form, headers=headers)).status_code
    answer = await shared.http.request(method, url, json=body, headers=headers)
    return answer.status_code


async def living(shared: Running) -> list[Caller]:
    """Make administrators with one scope each, with none, and with all but one."""

    async def administrator(name: str, *scopes: str) -> dict[str, Any]:
        return await shared.issue(f"admin:{name}", kind="admin", scopes=scopes)

    callers = [
        Caller(scope, (await administrator("one", scope))["token"], frozenset({scope}), True)
        for scope in ALL_SCOPES
    ]
    callers.append(Caller("none", (await administrator("none"))["token"], frozenset(), True))
    for scope in ALL_SCOPES:
        made = await administrator("narrowed", *ALL_SCOPES)
        await shared.revoke(f"token:{made['token_id']}", effect="narrow", scopes=[scope])
        left = frozenset(ALL_SCOPES) - {scope}
        callers.append(Caller(f"all but {scope}", made["token"], left, True))
    return callers


async def recognised_nowhere(shared: Running) -> list[Caller]:
    """Make callers of other kinds, and administrators in every state that is not good."""
    everything: dict[str, Any] = {"scopes": list(ALL_SCOPES), "audience": ["rescind"]}
    callers = [
        Caller("nobody", None, None),
        Caller("garbage", "x", None),
        Caller("a forgery", "rsc_adm_" + "0" * 60, None),
    ]
    for kind in ("agent", "service", "session", "personal"):
        made = await shared.issue(f"user:{kind}", kind=kind, **everything)
        callers.append(Caller(kind, made["token"], None, True))
    credential = await shared.issue(
        "service:search", kind="service", scopes=["rescind:verify"], audience=["rescind"]
    )
    callers.append(Caller("a credential", credential["token"], None, True))

    async def administrator(**facts: object) -> dict[str, Any]:
        return await shared.issue("admin:dead", **{"kind": "admin", **everything, **facts})

    elsewhere = await administrator(audience=["search"])
    callers.append(Caller("another audience", elsewhere["token"], None, True))
    bound = await administrator(addresses=["192.0.2.0/24"])
    callers.append(Caller("another address", bound["token"], None))
    soon = datetime.now(UTC) + timedelta(hours=1)
    later = await administrator(ttl=7200, not_before=soon.isoformat())
    callers.append(Caller("not yet valid", later["token"], None))
    for effect in ("revoke", "suspend"):
        made = await administrator()
        await shared.revoke(f"token:{made['token_id']}", effect=effect)
        callers.append(Caller(effect, made["token"], None))
    expired = await administrator()
    await shared.http.post(f"/v1/tokens/{expired['token_id']}/expire", json={})
    callers.append(Caller("expired", expired["token"], None))
    rotated = await administrator()
    await shared.http.post(f"/v1/tokens/{rotated['token_id']}/rotate", json={"on_reuse": "deny"})
    callers.append(Caller("rotated away", rotated["token"], None))
    return callers
