"""`/` in a subject is what delegation makes, and two keys that read alike are one label."""

from typing import Any

import httpx2
from tests.support.authority import Running, System, serving

_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "scope": "x",
}


async def issue(authority: Running, subject: str, kind: str, **facts: object) -> httpx2.Response:
    body = {"subject": subject, "kind": kind, **facts}
    return await authority.http.post("/v1/tokens", json=body)


async def by_hand(system: System, token: dict[str, Any], subject: str) -> None:
    """Have a token speak for another subject, as one that was issued long ago may."""
    await system.rows(
        "UPDATE tokens SET subject = $2, handles = array_replace(array_replace(handles, "
        "'subject:' || subject, 'subject:' || $2), 'chain:' || subject, 'chain:' || $2) "
        "WHERE token_id = $1",
        token["token_id"],
        subject,
    )


def field(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["field"]


async def test_no_token_is_issued_for_a_subject_below_another(system: System) -> None:
    async with serving(system) as authority:
        for kind, subject in (
            ("session", "user:acme/bob"),
            ("agent", "agent:a/b"),
            ("personal", "user:/"),
            ("personal", "user:a//b"),
            ("service", "service:search/1"),
            ("admin", "admin:ci/deploy"),
        ):
            assert field(await issue(authority, subject, kind)) == (422, "subject"), subject
        parent = await authority.issue("agent:a", scopes=["x"])
        async with authority.as_bearer(parent["token"]) as bearer:
            made = await bearer.post("/v1/delegations", json={"subject": "agent:a/b"})
            assert made.status_code == 201
            form = _EXCHANGE | {"subject_token": parent["token"], "subject": "agent:a/c"}
            assert (await bearer.post("/oauth/token", data=form)).status_code == 200


async def test_a_session_cannot_manage_an_existing_session_of_a_subject_below_its_own(
    system: System,
) -> None:
    async with serving(system) as authority:
        acme = await authority.issue("user:acme", kind="session", may_speak_for=["user:*"])
        bob = await authority.issue("user:bob", kind="session")
        await by_hand(system, bob, "user:acme/bob")
        async with authority.as_bearer(acme["token"]) as bearer:
            for subject in ("user:acme/bob", "user:acme", "user:carol"):
                body = {"subject": subject, "kind": "session"}
                assert field(await bearer.post("/v1/delegations", json=body)) == (403, "kind")
            seen = (await bearer.get("/v1/sessions")).json()["sessions"]
            assert [each["token_id"] for each in seen] == [acme["token_id"]]
            body = {"token_id": bob["token_id"]}
            assert (await bearer.post("/v1/sessions/logout", json=body)).status_code == 404
        async with authority.as_bearer(bob["token"]) as bearer:  # it goes on as before
            seen = (await bearer.get("/v1/sessions")).json()["sessions"]
            assert [each["token_id"] for each in seen] == [bob["token_id"]]


async def test_a_session_that_was_delegated_before_this_rule_can_end_only_itself(
    system: System,
) -> None:
    async with serving(system) as authority:
        acme = await authority.issue("user:acme", kind="session")
        bob = await authority.issue("user:bob", kind="session")
        await by_hand(system, bob, "user:acme/bob")
        async with authority.as_bearer(acme["token"]) as bearer:
            body = {"subject": "user:acme/bob"}
            nested = (await bearer.post("/v1/delegations", json=body)).json()
        await system.rows(
            "UPDATE tokens SET kind = 'session' WHERE token_id = $1", nested["token_id"]
        )
        async with authority.as_bearer(nested["token"]) as bearer:
            assert (await bearer.get("/v1/sessions")).status_code == 403
            for asked in ({"everywhere": True}, {"token_id": bob["token_id"]}):
                refused = await bearer.post("/v1/sessions/logout", json=asked)
                assert refused.status_code == 403, refused.text
            done = await bearer.post("/v1/sessions/logout", json={"wait": False})
            assert done.json()["selector"] == [f"tree:{nested['token_id']}"]
        shown = (await authority.http.get(f"/v1/tokens/{bob['token_id']}")).json()
        assert shown["state"] == "active"


async def test_labels_with_confusable_keys_are_refused_wherever_they_are_given(
    system: System,
) -> None:
    async with serving(system) as authority:
        for pair in (("teaK", "tea\u212a"), ("team", "Team"), ("team", "\uff54eam")):
            labels = dict.fromkeys(pair, "x")
            answer = await issue(authority, "agent:a", "agent", labels=labels)
            assert field(answer) == (422, f"labels.{pair[1]}")
            answer = await issue(authority, "agent:a", "agent", verifier=labels)
            assert field(answer) == (422, f"verifier.{pair[1]}")
        parent = await authority.issue("agent:a", labels={"teaK": "red"})
        async with authority.as_bearer(parent["token"]) as bearer:
            for labels, expected in (
                ({"Teak": "red"}, (403, "labels.Teak")),
                ({"tea\u212a": "blue"}, (403, "labels.teaK")),  # the same key in NFC
                ({"step": "1", "\uff33tep": "1"}, (422, "labels.\uff33tep")),
            ):
                body = {"subject": "agent:a/b", "labels": labels}
                assert field(await bearer.post("/v1/delegations", json=body)) == expected
