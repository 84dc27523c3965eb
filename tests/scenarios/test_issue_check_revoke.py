"""The line: issue a token, check it beside three services, revoke it everywhere.

The first promise of rescind, kept on real components: `rescind up`, the command line, the HTTP
data plane and the SDK, each as its user meets it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support import local_system
from tests.support.eventually import eventually_blocking
from tests.support.outcomes import soon
from tests.support.processes import clean_environment

from rescind import Allowed, Denied, Reason, Verifier
from rescind.core import token_format
from rescind.core.token_format import Kind

ENFORCED_S = 1.0
"""A bound for this noisy machine; what is usual is milliseconds, and `rescind demo` measures it."""


@dataclass(frozen=True, slots=True)
class System:
    directory: Path
    ready: Mapping[str, Any]

    def rescind(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rescind_cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=clean_environment(RESCIND_DATA=str(self.directory)),
        )

    def issue(self, *arguments: str) -> tuple[str, str]:
        run = self.rescind("issue", "--json", *arguments)
        assert run.returncode == 0, run.stderr
        issued = json.loads(run.stdout)
        return issued["token"], issued["token_id"]

    def verifiers(self) -> list[Verifier]:
        return [
            Verifier.attach(sidecar["socket"], timeout_s=5) for sidecar in self.ready["sidecars"]
        ]

    @property
    def admin(self) -> dict[str, str]:
        token = Path(self.ready["admin_token_file"]).read_text().strip()
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("up")
    with local_system.up(directory, sidecars=3) as run:
        yield System(directory, run.ready)
        assert run.end(signal.SIGTERM) == 0


@pytest.fixture
def verifiers(system: System) -> Iterator[list[Verifier]]:
    verifiers = system.verifiers()
    yield verifiers
    for verifier in verifiers:
        verifier.close()


def reasons(verifiers: list[Verifier], token: str, **asked: Any) -> list[Reason | None]:
    verdicts = [verifier.check(token, **asked) for verifier in verifiers]
    return [verdict.reason if isinstance(verdict, Denied) else None for verdict in verdicts]


def accepted_everywhere(verifiers: list[Verifier], token: str) -> bool:
    return all(isinstance(verifier.check(token), Allowed) for verifier in verifiers)


def test_a_revoked_token_is_denied_at_every_service(
    system: System, verifiers: list[Verifier]
) -> None:
    token, token_id = system.issue("--subject", "agent:rogue", "--kind", "agent", "--scope", "a")
    other, _ = system.issue("--subject", "agent:good", "--kind", "agent", "--scope", "a")
    assert accepted_everywhere(verifiers, token)
    assert accepted_everywhere(verifiers, other)

    run = system.rescind("revoke", "--json", f"token:{token_id}", "--reason", "went rogue")
    returned = time.monotonic()
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["state"] == "committed"

    eventually_blocking(lambda: reasons(verifiers, token) == [Reason.REVOKED] * 3)
    soon(time.monotonic() - returned, at_most_s=ENFORCED_S)
    assert accepted_everywhere(verifiers, other)


def test_logging_out_everywhere_spares_tokens_issued_afterwards(
    system: System, verifiers: list[Verifier]
) -> None:
    session = ("--subject", "user:42", "--kind", "session", "--scope", "read")
    before = [system.issue(*session)[0] for _ in range(2)]
    assert all(accepted_everywhere(verifiers, token) for token in before)
    assert system.rescind("revoke", "subject:user:42", "--yes").returncode == 0
    after, _ = system.issue(*session)

    def revoked(token: str) -> bool:
        return reasons(verifiers, token) == [Reason.REVOKED] * 3

    for token in before:
        eventually_blocking(partial(revoked, token))
    assert accepted_everywhere(verifiers, after)


def test_each_bad_token_gets_its_reason_from_sdk_cli_and_http(
    system: System, verifiers: list[Verifier]
) -> None:
    grant = ("--subject", "agent:r", "--kind", "agent", "--scope", "a")
    edge_key = bytes.fromhex((system.directory / "edge-key").read_text().split()[0])
    unknown = token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=edge_key).reveal()
    short, _ = system.issue(*grant, "--ttl", "1")
    elsewhere, _ = system.issue(*grant, "--audience", "another-service")
    poor, _ = system.issue(*grant)
    early = issue_over_http(system, not_before=time.time() + 3600)
    eventually_blocking(lambda: reasons(verifiers[:1], short) == [Reason.EXPIRED])
    cases: dict[str, tuple[str, list[str]]] = {
        "malformed": ("rsc_agt_nonsense", []),
        "unknown": (unknown, []),
        "expired": (short, []),
        "not_yet_valid": (early, []),
        "wrong_audience": (elsewhere, []),
        "insufficient_scope": (poor, ["a", "b"]),
    }
    sidecar = system.ready["sidecars"][0]
    for reason, (token, require) in cases.items():
        assert reasons(verifiers, token, require=set(require)) == [reason] * 3
        options = [text for scope in require for text in ("--require", scope)]
        run = system.rescind("check", *options, stdin=f"{token}\n")
        assert (run.returncode, reason in run.stdout + run.stderr) == (1, True), run
        answer = httpx2.get(
            f"{sidecar['http']}/verify",
            params={"require": require},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == (403 if reason == "insufficient_scope" else 401)
        assert answer.headers["x-rescind-reason"] == reason
        assert answer.headers["www-authenticate"].startswith("Bearer error=")
        body = {"token": token, "require": require}
        checked = httpx2.post(f"{sidecar['http']}/v1/check", json=body).json()
        assert checked == {"active": False, "reason": reason}
    for target, status in (
        ("/verify?scope=b", 403),
        ("/verify/any/path?scope=b", 200),
        ("/verify?scopes=b", 400),
        ("/verify?require=", 400),
        ("/verify?audience=another-service", 400),
    ):
        sent = {"Authorization": f"Bearer {poor}"}
        answer = httpx2.get(f"{sidecar['http']}{target}", headers=sent)
        assert (target, answer.status_code) == (target, status)


def issue_over_http(system: System, **facts: Any) -> str:
    body = {"subject": "agent:h", "kind": "agent", "scopes": ["a"], "ttl": 7200} | facts
    answer = httpx2.post(f"{system.ready['authority']}/v1/tokens", json=body, headers=system.admin)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def test_a_proxy_receives_the_identity_of_the_caller(system: System) -> None:
    token, token_id = system.issue(
        "--subject", "agent:p", "--kind", "agent", "--scope", "b", "--scope", "a"
    )
    sidecar = system.ready["sidecars"][0]
    for method in ("GET", "HEAD", "POST", "DELETE"):
        answer = httpx2.request(
            method,
            f"{sidecar['http']}/verify",
            params={"require": "a"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200
        assert answer.headers["x-rescind-token-id"] == token_id
        assert answer.headers["x-rescind-subject"] == "agent:p"
        assert answer.headers["x-rescind-scopes"] == "a b"
        assert answer.headers["cache-control"] == "no-store"
    anonymous = httpx2.get(f"{sidecar['http']}/verify")
    assert anonymous.status_code == 401
    assert "error=" not in anonymous.headers["www-authenticate"]
    assert anonymous.headers["x-rescind-reason"] == "missing"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/revocations", {"selector": ["tokn:x"]}, 422, "token:"),
        ("/v1/revocations", {"selector": []}, 422, "selector"),
        ("/v1/revocations", {"selector": ["token:x"], "wait": "soon"}, 422, "wait"),
        ("/v1/revocations", {"selector": ["*"], "dry_run": "perhaps"}, 422, "dry_run"),
        ("/v1/revocations", {"selector": ["*"], "effect": "maim"}, 422, "effect"),
        ("/v1/tokens", {"subject": "agent:x", "kind": "robot", "scopes": []}, 422, "kind"),
        ("/v1/tokens", {"subject": "x", "kind": "agent", "scopes": ["a"]}, 422, "subject"),
        ("/v1/tokens", [], 422, "object"),
        ("/v1/nothing", {}, 404, ""),
    ],
)
def test_a_bad_request_is_answered_with_what_to_do(
    system: System, path: str, body: Any, status: int, words: str
) -> None:
    answer = httpx2.post(f"{system.ready['authority']}{path}", json=body, headers=system.admin)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert words in answer.text


def test_the_text_output_shows_the_token_the_fleet_and_the_event(system: System) -> None:
    _, token_id = system.issue("--subject", "agent:seen", "--kind", "agent", "--scope", "a")
    assert system.rescind("revoke", f"token:{token_id}", "--reason", "to be seen").returncode == 0
    shown = json.loads(system.rescind("tokens", "show", token_id, "--json").stdout)
    assert (shown["token_id"], shown["state"]) == (token_id, "revoked")
    fleet = json.loads(system.rescind("fleet", "--json").stdout)
    services = {verifier["service"] for verifier in fleet["instances"]}
    assert services == {"service-1", "service-2", "service-3"}
    events = system.rescind("events", "--json").stdout.splitlines()
    assert any(token_id in line and "to be seen" in line for line in events)
