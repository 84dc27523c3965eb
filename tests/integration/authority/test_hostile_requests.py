"""Requests that are well formed and mean harm: nothing of them is kept that cannot be shown."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx2
import pytest
from tests.support.authority import Running, System, serving

NO_TIMES = (
    "9999-12-31T23:59:59-10:00",  # the year 10000 in UTC
    "9999-12-31T23:59:59.999999Z",  # which Postgres, by its interval's double, rounds to it
    "0001-01-01T00:00:00+10:00",
)
AGENT = {"subject": "agent:a", "kind": "agent"}


async def head(running: Running) -> int:
    """Give the ledger's last seq."""
    return int((await running.http.get("/v1/fleet")).json()["seq"])


@pytest.mark.parametrize("moment", NO_TIMES)
async def test_a_time_at_the_end_of_the_calendar_is_refused_before_it_is_in_the_ledger(
    system: System, moment: str
) -> None:
    # It was committed, and then no list of revocations could be written any more.
    async with serving(system) as running:
        deed = {"selector": ["subject:agent:a"], "effect": "suspend"}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("/v1/revocations", {**deed, "until": moment}),
            ("/v1/revocations", {**deed, "issued_before": moment, "effect": "revoke"}),
            ("/v1/revocations/batch", {"revocations": [{**deed, "until": moment}]}),
            ("/v1/tokens", {**AGENT, "not_before": moment}),
            ("/v1/tokens/tok_x/expire", {"at": moment}),
            ("/v1/tokens/expire", {"token_ids": ["tok_x"], "at": moment}),
        ]
        for path, body in calls:
            refused = await running.http.post(path, json=body)
            assert refused.status_code == httpx2.codes.UNPROCESSABLE_CONTENT, (path, refused.text)
        listed = await running.http.get("/v1/tokens", params={"issued_after": moment})
        assert listed.status_code == httpx2.codes.UNPROCESSABLE_CONTENT
        assert await head(running) == 0
        assert (await running.http.get("/v1/revocations")).json()["revocations"] == []


async def test_the_latest_accepted_time_is_shown(system: System) -> None:
    async with serving(system) as running:
        await running.revoke("subject:agent:a", effect="suspend", until="9998-12-31T23:59:59-12:00")
        (shown,) = (await running.http.get("/v1/revocations")).json()["revocations"]
        assert shown["until"].startswith("9999-01-01T11:59:59")


@pytest.mark.parametrize("sent", ["1" * 5_000, "9" * 20, "-1", "1e3", "\u0661"])
async def test_a_last_event_id_that_is_not_a_seq_is_refused(system: System, sent: str) -> None:
    async with serving(system) as running:
        headers = {b"last-event-id": sent.encode()}
        refused = await running.http.get("/v1/events", headers=headers)
        assert refused.status_code == httpx2.codes.UNPROCESSABLE_CONTENT


TOKEN = "rsc_agt_001GsBaniMdfHPrKhhwjnlS86reYjdQ5ckAqLoTS4ckok0FA7OvgX31DQnGk"  # of no issuer
KEPT: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "a scope": ("/v1/tokens", {**AGENT, "scopes": [TOKEN]}, {}),
    "an audience": ("/v1/tokens", {**AGENT, "audience": [TOKEN]}, {}),
    "a label": ("/v1/tokens", {**AGENT, "labels": {"a": TOKEN}}, {}),
    "a label's key": ("/v1/tokens", {**AGENT, "labels": {TOKEN: "a"}}, {}),
    "a verifier's label": ("/v1/tokens", {**AGENT, "verifier": {"a": TOKEN}}, {}),
    "a verifier's label's key": ("/v1/tokens", {**AGENT, "verifier": {TOKEN: "a"}}, {}),
    "a subject": ("/v1/tokens", {**AGENT, "subject": f"agent:{TOKEN}"}, {}),
    "a tenant": ("/v1/tokens", {**AGENT, "tenant": TOKEN}, {}),
    "a pattern": ("/v1/tokens", {**AGENT, "may_speak_for": [f"agent:{TOKEN}/*"]}, {}),
    "a network": ("/v1/tokens", {**AGENT, "addresses": [f"fe80::1%{TOKEN}"]}, {}),
    "a field": ("/v1/tokens", {**AGENT, TOKEN: 1}, {}),
    "a key": ("/v1/tokens", AGENT, {"idempotency-key": TOKEN}),
    "a selector": ("/v1/revocations", {"selector": [f"subject:{TOKEN}"]}, {}),
    "a reason": ("/v1/revocations", {"selector": ["tenant:t"], "reason": f"was {TOKEN}"}, {}),
    "a narrowing": (
        "/v1/revocations",
        {"selector": ["tenant:t"], "effect": "narrow", "scopes": [TOKEN]},
        {},
    ),
    "a reason to end": ("/v1/tokens/tok_x/expire", {"reason": TOKEN}, {}),
    "a reason to rotate": ("/v1/tokens/tok_x/rotate", {"reason": TOKEN}, {}),
    "a reason to lift": ("/v1/revocations/rev_x/lift", {"reason": TOKEN}, {}),
    "an id": (f"/v1/tokens/{TOKEN}/rotate", {}, {}),
    "a path": (f"/v1/{TOKEN}", {}, {}),
}


async def test_a_token_in_a_wrong_place_is_neither_stored_nor_repeated(system: System) -> None:
    async with serving(system) as running:
        for place, (path, body, headers) in KEPT.items():
            refused = await running.http.post(path, json=body, headers=headers)
            assert refused.status_code in {404, 422}, place
            assert TOKEN not in refused.text, place
        assert await head(running) == 0
        assert len(await system.rows("SELECT FROM tokens")) == 1  # the admin's own


async def test_a_token_in_a_user_agent_is_hidden_and_a_zone_is_left_out(system: System) -> None:
    # A session is issued whatever the browser's user agent contains.
    async with serving(system) as running:
        issued = await running.issue(
            "user:a", kind="session", user_agent=f"curl {TOKEN}", address=f"fe80::1%{TOKEN[:40]}\0"
        )
        shown = (await running.http.get(f"/v1/tokens/{issued['token_id']}")).json()
        assert (shown["user_agent"], shown["address"]) == ("curl rsc_agt_<secret>", "fe80::1")


@pytest.mark.parametrize("facts", [{"verifier": {"a": "\0"}}, {"addresses": ["fe80::1%\0"]}])
async def test_a_value_that_postgres_cannot_store_is_refused_before_it_gets_there(
    system: System, facts: dict[str, Any]
) -> None:
    async with serving(system) as running:
        refused = await running.http.post("/v1/tokens", json={**AGENT, **facts})
        assert refused.status_code == httpx2.codes.UNPROCESSABLE_CONTENT


HALVES = (
    b'"\\ud800"',
    b'"\\udfff\\ud800"',
    b'"x\\uDBFFx"',
    b'["a", "\\ud800"]',
    b'{"a": "\\ud800"}',
    b'{"\\ud800": "a"}',
    b'"\xed\xa0\x80"',  # the same in UTF-8, which Python's decoder of JSON lets through
    b'"\xff"',
)


def bodies_of(document: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield each call that takes JSON bodies, with half a pair in each of its fields in turn."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            continue
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for field, half in product(["no_such_field", *schemas[name]["properties"]], HALVES):
            yield path, b'{"%s": %s}' % (field.encode(), half)
        yield path, '{"subject": "\ud800"}'.encode("utf-16", "surrogatepass")


async def test_half_of_a_surrogate_pair_is_refused_in_every_field_of_every_call(
    system: System,
) -> None:
    async with serving(system) as running:
        document = (await running.http.get("/openapi.json")).json()
        headers = {"content-type": "application/json"}
        paths: set[str] = set()
        for path, body in bodies_of(document):
            paths.add(path)
            where = path.replace("{", "").replace("}", "")
            refused = await running.http.post(where, content=body, headers=headers)
            assert refused.status_code in {400, 422}, (path, body, refused.text)
            assert refused.headers["content-type"] == "application/problem+json"
        assert {"/v1/tokens/expire", "/v1/revocations/batch", "/v1/delegations"} <= paths
        assert await head(running) == 0
        pair = await running.revoke("subject:agent:a", reason="\U0001f511")
        assert pair["reason"] == "\U0001f511"


async def test_the_field_with_half_of_a_surrogate_pair_is_named(system: System) -> None:
    async with serving(system) as running:
        deed = {"selector": ["tenant:t"], "reason": "\ud800"}
        body = json.dumps({"revocations": [{"selector": ["tenant:t"]}, deed]})
        headers = {"content-type": "application/json"}
        refused = await running.http.post("/v1/revocations/batch", content=body, headers=headers)
        assert [each["field"] for each in refused.json()["errors"]] == ["revocations.1.reason"]
