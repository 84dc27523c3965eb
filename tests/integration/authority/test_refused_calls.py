"""Refused calls are in the audit: who, as far as a token says it, what, and never a secret."""

from typing import Any

from tests.support.authority import System, serving
from tests.support.eventually import eventually


async def refusals(system: System) -> list[dict[str, Any]]:
    return [
        dict(row)
        for row in await system.rows(
            "SELECT actor, target, detail FROM audit WHERE action = 'refused' ORDER BY audit_id"
        )
    ]


async def test_refused_authentications_and_authorisations_are_in_the_audit(system: System) -> None:
    proxied = system.but(trusted_proxies="127.0.0.1")  # so that each call has a source of its own
    async with serving(proxied) as authority:
        reader = await authority.issue("admin:a", kind="admin", scopes=["rescind:read"])
        dead = await authority.issue("admin:b", kind="admin", scopes=["rescind:read"])
        bound = await authority.issue("agent:c", audience=["search"])
        await authority.revoke(f"token:{dead['token_id']}")
        wish = {"subject": "agent:c/d"}
        calls = [
            (None, "GET", "/v1/fleet", None, 401),
            ("rsc_adm_" + "0" * 60, "GET", "/v1/tokens/tok_x", None, 401),
            (dead["token"], "GET", "/v1/fleet", None, 401),
            (reader["token"], "POST", "/v1/tokens", wish | {"kind": "agent"}, 403),
            (bound["token"], "POST", "/v1/delegations", wish, 403),
        ]
        for number, (token, method, path, body, status) in enumerate(calls):
            async with authority.as_bearer(token) as bearer:
                for _ in range(3):
                    answer = await bearer.request(
                        method, path, json=body, headers={"x-forwarded-for": f"192.0.2.{number}"}
                    )
                    assert answer.status_code == status, answer.text
        rows = await eventually(lambda: refusals(system), until=lambda found: len(found) >= 5)
        assert [(row["actor"], row["target"]) for row in rows] == [
            ("unknown", "GET /v1/fleet"),
            ("unknown", "GET /v1/tokens/{token_id}"),
            (f"admin:b {dead['token_id']}", "GET /v1/fleet"),
            (f"admin:a {reader['token_id']}", "POST /v1/tokens"),
            (f"agent:c {bound['token_id']}", "POST /v1/delegations"),
        ]
        assert '"source": "192.0.2.3"' in rows[3]["detail"]
        assert '"status": 403' in rows[3]["detail"]
        assert "rsc_" not in f"{rows}"
