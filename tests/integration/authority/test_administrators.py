"""Who may become an administrator: no caller obtains a scope that it does not hold."""

import itertools
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from tests.support.authority import Running
from tests.support.eventually import eventually

from rescind.core.handles import Handle, Selector
from rescind.core.revocation import spares
from rescind_authority.usecases.access.authoriser import ALL_SCOPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREDENTIAL = {"kind": "service", "scopes": ["rescind:verify"], "audience": ["rescind"]}
_PLAIN = {"subject": "agent:a", "kind": "agent", "scopes": ["tools:call"]}
_numbers = itertools.count(1)


@asynccontextmanager
async def administrator(
    authority: Running, *scopes: str, **facts: object
) -> AsyncIterator[httpx2.AsyncClient]:
    """Call as a new administrator with these scopes alone."""
    made = await made_administrator(authority, *scopes, **facts)
    async with authority.as_bearer(made["token"]) as client:
        client.headers["x-token-id"] = made["token_id"]  # the authority reads no such header
        yield client


async def made_administrator(authority: Running, *scopes: str, **facts: object) -> dict[str, Any]:
    """Issue an administrator's token."""
    name = f"admin:a-{next(_numbers)}"
    wish: dict[str, Any] = {"subject": name, "kind": "admin", "scopes": scopes, **facts}
    return await authority.issue(**wish)


async def status(client: httpx2.AsyncClient, path: str, body: object) -> int:
    """Send a command, and return how it was answered."""
    return (await client.post(path, json=body)).status_code


async def test_an_issuer_of_application_tokens_cannot_issue_permissions_over_rescind(
    shared: Running,
) -> None:
    wishes: list[dict[str, object]] = [
        {"scopes": ["rescind:verify"]},
        {"scopes": ["rescind:read"]},
        {"scopes": ["rescind:*"]},
        {"scopes": ["*"]},
        {"scopes": ["rescind:x/*"]},
        {"scopes": ["rescind:a-name-of-later"]},
        {"audience": ["rescind"]},
        {"audience": ["search", "rescind"]},
    ]
    kinds = ("agent", "service", "session", "personal", "admin")
    before = await shared.system.rows("SELECT count(*) FROM tokens")
    async with administrator(shared, "rescind:issue") as issuer:
        for wish, kind in itertools.product(wishes, kinds):
            asked = {"subject": "service:search", "kind": kind, **wish}
            assert await status(issuer, "/v1/tokens", asked) in {403, 422}, asked
        credential = {"subject": "service:search", **CREDENTIAL}
        assert await status(issuer, "/v1/tokens", credential) == 403
        assert await shared.system.rows("SELECT count(*) - 1 FROM tokens") == before
        for scope in ("tools:call", "tools:*", "rescindable:x", "rescind"):
            asked = {"subject": "agent:a", "kind": "agent", "scopes": [scope]}
            assert await status(issuer, "/v1/tokens", asked) == 201, scope


async def test_the_enrol_scope_alone_issues_credentials_and_it_issues_nothing_else(
    shared: Running,
) -> None:
    credential = {"subject": "service:search", **CREDENTIAL}
    async with administrator(shared, "rescind:enrol") as enroller:
        made = await enroller.post("/v1/tokens", json=credential)
        assert made.status_code == 201, made.text
        assert made.json()["max_depth"] == 0
        rotated = f"/v1/tokens/{made.json()['token_id']}/rotate"
        assert await status(enroller, rotated, {}) == 200
        assert await status(enroller, "/v1/tokens", _PLAIN) == 403
        plain = await shared.issue()
        assert await status(enroller, f"/v1/tokens/{plain['token_id']}/rotate", {}) == 403
    for scopes in (
        ("rescind:issue",),
        ("rescind:issue", "rescind:admin"),  # it could read the ledger, which it may not
        ("rescind:issue", "rescind:read"),
        ("rescind:admin", "rescind:read"),
    ):
        async with administrator(shared, *scopes) as other:
            assert await status(other, "/v1/tokens", credential) == 403, scopes
            assert await status(other, rotated, {}) == 403, scopes
    # An administrator of an older release has all scopes of then, and goes on.
    older = ("rescind:admin", "rescind:issue", "rescind:lift", "rescind:read", "rescind:revoke")
    async with administrator(shared, *older) as root:
        assert await status(root, "/v1/tokens", credential) == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "agent"},
        {"kind": "admin"},
        {"scopes": ["rescind:verify", "tools:call"]},
        {"audience": []},
        {"audience": ["search"]},
        {"audience": ["rescind", "search"]},
        {"subject": "service:sea rch/../x"},
        {"subject": "service:-x"},
        {"subject": "agent:search"},
        {"max_depth": 3},
        {"may_speak_for": ["service:*"]},
    ],
    ids=str,
)
async def test_a_credential_with_any_other_permission_is_refused(
    shared: Running, wrong: dict[str, object]
) -> None:
    asked = {"subject": "service:search", **CREDENTIAL, **wrong}
    answer = await shared.http.post("/v1/tokens", json=asked)
    assert answer.status_code == 422, answer.text
    assert "credential" in answer.text


async def test_a_credential_and_permissions_over_rescind_cannot_be_delegated(
    shared: Running,
) -> None:
    credential = await shared.issue("service:search", **CREDENTIAL)
    wide = await shared.issue("agent:a", scopes=["*"], may_speak_for=["*"])
    for parent, subject, scopes in (
        (credential, "service:search/backdoor", ["rescind:verify"]),
        (credential, "service:search/backdoor", []),
        (wide, "agent:a/b", ["rescind:verify"]),
        (wide, "agent:a/b", ["rescind:*"]),
        (wide, "agent:a/b", ["*"]),
        (wide, "service:search", ["rescind:verify"]),
    ):
        body = {"subject": subject, "scopes": scopes}
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": parent["token"],
            "subject": subject,
            "scope": " ".join(scopes) or "x",
        }
        async with shared.as_bearer(parent["token"]) as bearer:
            assert await status(bearer, "/v1/delegations", body) == 403, body
            exchanged = await bearer.post("/oauth/token", data=form)
            assert exchanged.status_code == 400, exchanged.text
    async with shared.as_bearer(wide["token"]) as bearer:
        child = {"subject": "agent:a/b", "scopes": ["tools:*"]}
        assert await status(bearer, "/v1/delegations", child) == 201


async def test_issuing_an_introspection_token_needs_admin_and_no_administrator_can_hold_its_scope(
    shared: Running,
) -> None:
    caller = {"kind": "service", "scopes": ["rescind:introspect"], "audience": ["rescind"]}
    asked = {"subject": "service:gateway", **caller}
    made = await shared.issue("service:gateway", **caller)
    rotate = f"/v1/tokens/{made['token_id']}/rotate"
    for held, admitted in (
        (("rescind:issue", "rescind:admin"), True),
        (("rescind:issue",), False),
        (("rescind:enrol",), False),
        (("rescind:admin",), False),
    ):
        async with administrator(shared, *held) as actor:
            assert await status(actor, "/v1/tokens", asked) == (201 if admitted else 403), held
            assert await status(actor, rotate, {}) == (200 if admitted else 403), held
    async with administrator(shared, "rescind:issue", "rescind:admin") as actor:
        # No administrator has it: its scopes are those of the API.
        wrong = {"subject": "admin:x", "kind": "admin", "scopes": ["rescind:introspect"]}
        assert await status(actor, "/v1/tokens", wrong) == 403
    async with shared.as_bearer(made["token"]) as bearer:
        body = {"subject": "service:gateway/b", "scopes": ["rescind:introspect"]}
        assert await status(bearer, "/v1/delegations", body) in {401, 403}


async def test_a_caller_without_a_scope_cannot_issue_or_rotate_a_token_that_has_it(
    shared: Running,
) -> None:
    """The finding, for every pair of scopes: caller and target."""
    held = ("rescind:issue", "rescind:admin")
    for scope in ALL_SCOPES:
        target = await made_administrator(shared, scope)
        async with administrator(shared, *held) as caller:
            expected = 200 if scope in held else 403
            for body in ({}, {"overlap": 60}):
                answer = await caller.post(f"/v1/tokens/{target['token_id']}/rotate", json=body)
                assert answer.status_code == expected, (scope, answer.text)
                assert ("token" in answer.json()) == (expected == 200)
            wish = {"subject": "admin:x", "kind": "admin", "scopes": [scope]}
            assert await status(caller, "/v1/tokens", wish) == (201 if scope in held else 403)
        async with authority_of(shared, target) as holder:
            assert (await holder.get("/v1/fleet")).status_code != 401 or scope in held


@asynccontextmanager
async def authority_of(shared: Running, made: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    async with shared.as_bearer(made["token"]) as client:
        yield client


async def test_a_removed_scope_does_not_count_as_held(shared: Running) -> None:
    """Narrowed, it can neither be handed out nor given back by the one who lost it."""
    everything = list(ALL_SCOPES)
    target = await made_administrator(shared, "rescind:revoke")
    async with administrator(shared, *everything) as caller:
        mine = f"token:{caller.headers['x-token-id']}"
        narrowed = await shared.revoke(mine, effect="narrow", scopes=["rescind:revoke"])
        rotate = f"/v1/tokens/{target['token_id']}/rotate"
        wish = {"subject": "admin:x", "kind": "admin", "scopes": ["rescind:revoke"]}
        assert await status(caller, rotate, {}) == 403
        assert await status(caller, "/v1/tokens", wish) == 403
        lift = f"/v1/revocations/{narrowed['id']}/lift"
        assert await status(caller, lift, {}) == 403
        assert await status(shared.http, lift, {}) == 201
        assert await status(caller, rotate, {}) == 200


async def test_the_caller_is_authorised_again_inside_the_transaction(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken from it between its recognition and the commit counts."""
    from rescind_authority.usecases.access.authoriser import Authoriser  # noqa: PLC0415 - patched here

    recognise = Authoriser.recognise
    for effect, scopes, refusal in (
        ("narrow", ["rescind:read"], 403),
        ("suspend", [], 401),
        ("revoke", [], 401),
    ):
        target = await made_administrator(shared, "rescind:read")
        made = await made_administrator(shared, *ALL_SCOPES)

        async def late(self: Any, bearer: str | None, **rest: Any) -> Any:
            actor = await recognise(self, bearer, **rest)
            if actor.token_id == made["token_id"]:  # noqa: B023 called within the round
                await shared.revoke(
                    f"token:{made['token_id']}",  # noqa: B023
                    effect=effect,  # noqa: B023
                    scopes=scopes,  # noqa: B023
                )
            return actor

        monkeypatch.setattr(Authoriser, "recognise", late)
        async with shared.as_bearer(made["token"]) as caller:
            rotate = f"/v1/tokens/{target['token_id']}/rotate"
            assert await status(caller, rotate, {}) == refusal, effect
        monkeypatch.setattr(Authoriser, "recognise", recognise)
        made = await made_administrator(shared, *ALL_SCOPES)
        monkeypatch.setattr(Authoriser, "recognise", late)
        async with shared.as_bearer(made["token"]) as caller:
            wish = {"subject": "admin:x", "kind": "admin", "scopes": ["rescind:read"]}
            assert await status(caller, "/v1/tokens", wish) == refusal, effect
        monkeypatch.setattr(Authoriser, "recognise", recognise)
        async with shared.as_bearer(target["token"]) as holder:
            assert (await holder.get("/v1/fleet")).status_code == 200


async def test_the_overlap_of_an_administrator_s_secret_is_an_hour_at_most(
    shared: Running,
) -> None:
    target = await made_administrator(shared, "rescind:read")
    path = f"/v1/tokens/{target['token_id']}/rotate"
    assert await status(shared.http, path, {"overlap": 3601}) == 422
    async with shared.as_bearer(target["token"]) as bearer:
        assert await status(bearer, "/v1/rotations", {"overlap": 86_400}) == 422
        assert await status(bearer, "/v1/rotations", {"overlap": 3600}) == 200
    plain = await shared.issue()
    path = f"/v1/tokens/{plain['token_id']}/rotate"
    assert await status(shared.http, path, {"overlap": 86_400}) == 200


async def test_reserved_subjects_are_refused(shared: Running) -> None:
    for subject, kinds in (
        ("rescind:until", ("agent", "service", "session", "personal", "admin")),
        ("rescind:salvage/x", ("session", "admin")),
        ("admin:root", ("agent", "service", "session", "personal")),
    ):
        for kind in kinds:
            wish = {"subject": subject, "kind": kind}
            answer = await shared.http.post("/v1/tokens", json=wish)
            assert (answer.status_code, "reserved" in answer.text) == (422, True), wish
    parent = await shared.issue("agent:a", may_speak_for=["*"])
    async with shared.as_bearer(parent["token"]) as bearer:
        for subject in ("rescind:until", "admin:root"):
            assert await status(bearer, "/v1/delegations", {"subject": subject}) == 422


async def test_the_actor_of_an_event_is_a_token_and_its_subject(shared: Running) -> None:
    """Two holders with one subject are told apart by their token ids."""
    session = await shared.issue("user:acme", kind="session")
    other = await shared.issue("user:acme", kind="session")
    async with shared.as_bearer(session["token"]) as bearer:
        done = await bearer.post("/v1/sessions/logout", json={"token_id": other["token_id"]})
        seen = (await shared.http.get(f"/v1/revocations/{done.json()['id']}")).json()
        assert seen["actor"] == f"user:acme {session['token_id']}"
        rotated = (await bearer.post("/v1/rotations", json={})).json()
        seen = (await shared.http.get(f"/v1/revocations/{rotated['id']}")).json()
        assert seen["actor"] == f"user:acme {session['token_id']}"
    revoked = await shared.revoke("token:" + session["token_id"])
    found = await shared.system.rows("SELECT token_id FROM tokens WHERE subject = 'admin:root'")
    assert revoked["actor"] == f"admin:root {found[0]['token_id']}"
    entry = await shared.system.rows(
        "SELECT actor FROM audit WHERE target = $1 AND action = 'issue'", session["token_id"]
    )
    assert entry[0]["actor"] == revoked["actor"]


async def test_an_existing_administrator_with_a_reserved_subject_is_refused(
    shared: Running,
) -> None:
    """An idempotency key belongs to a subject: such a token could take the key of a timed lift."""
    made = await made_administrator(shared, *ALL_SCOPES)
    await shared.system.rows(
        "UPDATE tokens SET subject = 'rescind:until' WHERE token_id = $1", made["token_id"]
    )
    async with shared.as_bearer(made["token"]) as client:
        answer = await client.get("/v1/fleet")
        assert (answer.status_code, "reserved" in answer.text) == (401, True)


def planted(tokens: Collection[dict[str, Any]]) -> set[str]:
    return {each["token_id"] for each in tokens}


async def test_created_by_selects_tokens_that_an_administrator_issued_and_their_descendants(
    shared: Running,
) -> None:
    async with administrator(shared, "rescind:issue", subject="admin:ci") as ci:
        planted_token = (await ci.post("/v1/tokens", json=_PLAIN)).json()
    mine = await shared.issue()
    async with shared.as_bearer(planted_token["token"]) as bearer:
        child = (await bearer.post("/v1/delegations", json={"subject": "agent:a/b"})).json()
    handle = "created_by:admin:ci"
    listed = (await shared.http.get("/v1/tokens", params={"created_by": "admin:ci"})).json()
    assert planted(listed["tokens"]) == planted([planted_token, child])
    radius = await shared.http.post("/v1/revocations", json={"selector": [handle], "dry_run": True})
    assert radius.json()["tokens"] == 2
    await shared.revoke(handle)
    for token, state in ((planted_token, "revoked"), (child, "revoked"), (mine, "active")):
        seen = (await shared.http.get(f"/v1/tokens/{token['token_id']}")).json()
        assert seen["state"] == state
    await eventually(lambda: _swept(shared))


async def _swept(shared: Running) -> bool:
    found = (await shared.http.get("/v1/tokens", params={"created_by": "admin:ci"})).json()
    return {each["state"] for each in found["tokens"]} == {"revoked"}


async def test_a_wide_command_spares_the_credentials_of_sidecars_and_reports_it(
    shared: Running,
) -> None:
    facts = {"tenant": "wide", "labels": {"team": "x"}, **CREDENTIAL}
    credential = await shared.issue("service:wide", **facts)
    other = await shared.issue("service:other", kind="service", tenant="wide", labels={"team": "x"})

    async def state(made: dict[str, Any]) -> object:
        return (await shared.http.get(f"/v1/tokens/{made['token_id']}")).json()["state"]

    for selector in (["tenant:wide"], ["label:team=x"], ["kind:service", "tenant:wide"]):
        body = {"selector": selector, "dry_run": True}
        radius = (await shared.http.post("/v1/revocations", json=body)).json()
        assert (radius["tokens"], radius["spared_credentials"]) == (1, 1)
        suspended = await shared.revoke(*selector, effect="suspend")
        assert (await state(credential), await state(other)) == ("active", "suspended")
        again = await shared.http.post("/v1/tokens", json={"subject": "service:wide", **facts})
        assert again.status_code == 201, again.text  # nor does it hold up a new one
        await shared.http.post(f"/v1/tokens/{again.json()['token_id']}/expire", json={})
        await shared.http.post(f"/v1/revocations/{suspended['id']}/lift", json={})
    for selector in (["tenant:wide", "kind:sidecar"], ["subject:service:wide"]):
        body = {"selector": selector, "dry_run": True}
        radius = (await shared.http.post("/v1/revocations", json=body)).json()
        assert (radius["tokens"], radius["spared_credentials"]) == (1, 0)
    await shared.revoke("tenant:wide")
    assert (await state(credential), await state(other)) == ("active", "revoked")
    await shared.revoke("tenant:wide", "kind:sidecar")
    assert await state(credential) == "revoked"


async def test_postgres_and_the_verifiers_spare_the_same_tokens(shared: Running) -> None:
    kinds = ["*", "kind:service", "kind:sidecar", "kind:admin", "tenant:t", "label:k=v:w", "new:x"]
    named = ["token:t", "tree:t", "subject:s:x", "chain:s:x", "session:s", "created_by:admin:a"]
    every = [*kinds, *named, "client:c*", "issuer:https://i"]
    selectors = [
        *([each] for each in every),
        *([one, other] for one, other in itertools.combinations(every, 2)),
    ]
    tokens = [["*"], ["kind:admin"], ["kind:sidecar"], ["kind:admin", "kind:sidecar"]]
    pairs = list(itertools.product(selectors, tokens))
    found = await shared.system.rows(
        "SELECT spares(ARRAY(SELECT jsonb_array_elements_text(s)), "
        "ARRAY(SELECT jsonb_array_elements_text(h))) AS spared "
        "FROM unnest($1::text[]::jsonb[], $2::text[]::jsonb[]) AS pairs (s, h)",
        [json.dumps(selector) for selector, _ in pairs],
        [json.dumps(token) for _, token in pairs],
    )
    assert [each["spared"] for each in found] == [
        spares(Selector(tuple(map(Handle, selector))), list(map(Handle, token)))
        for selector, token in pairs
    ]
