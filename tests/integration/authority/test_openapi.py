"""Every call of /openapi.json, with whatever its schema allows and forbids: it answers as it says.

schemathesis makes the requests and judges the answers. `HYPOTHESIS_PROFILE=long` sends many more.
"""

import asyncio
import base64
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from tests.support import oauth, processes
from tests.support.authority import System

from rescind_authority.operator import bootstrap

schemathesis = pytest.importorskip("schemathesis", reason="it comes with the extra `dev`")

from schemathesis import GenerationMode  # noqa: E402 only where there is one
from schemathesis.checks import load_all_checks  # noqa: E402

assert settings.default is not None
EXAMPLES = max(4, settings.default.max_examples // 15)
pytestmark = pytest.mark.timeout(180 + 60 * EXAMPLES)
ENDLESS = "/v1/events"  # a stream: what it refuses is asked, what it says never ends
SILENT_S = 5.0  # after which a stream that was accepted all the same has been seen enough
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
FUZZER = ["rescind:read", "rescind:issue", "rescind:revoke", "rescind:lift"]
"""No power over rescind itself: no command of these hits the tokens that send them."""


@dataclass(frozen=True)
class FuzzedAuthority:
    """A running authority, and who calls it."""

    url: str
    http: httpx2.Client
    fuzzer: str
    client: str = ""

    def issue(self, kind: str, subject: str, **more: object) -> dict[str, Any]:
        facts = {"subject": subject, "kind": kind, "scopes": ["a", "b:*"], **more}
        answer = self.http.post("/v1/tokens", json=facts)
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def revoke(self, *selector: str, **more: object) -> str:
        answer = self.http.post("/v1/revocations", json={"selector": selector, **more})
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        found: dict[str, str] = answer.json()
        return found["id"]

    def add_client(self) -> str:
        """Add an OAuth client, and return its HTTP Basic credentials."""
        facts = {
            "client_id": "fuzz",
            "grants": [oauth.CLIENT_CREDENTIALS, oauth.EXCHANGE],
            "scopes": ["a"],
            "introspect": True,
        }
        answer = self.http.post("/v1/clients", json=facts)
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        return base64.b64encode(f"fuzz:{answer.json()['client_secret']}".encode()).decode()

    def authorization(self, operation: Any) -> str:
        """Return the header of a caller that may make the call."""
        if operation.path.startswith("/oauth/"):
            return f"Basic {self.client}"
        return f"Bearer {self.bearer(operation)}"

    def bearer(self, operation: Any) -> str:
        """Give a token that may make the call. A call of a holder's own may end its token."""
        if operation.path.startswith("/v1/term"):
            return self.http.headers["authorization"].removeprefix("Bearer ")
        if schemes(operation) == {"parent token"}:
            token: str = self.issue("session", "user:fuzz")["token"]
            return token
        return self.fuzzer


@pytest.fixture(scope="module")
def authority(shared_system: System) -> Iterator[FuzzedAuthority]:
    system = shared_system.settings
    asyncio.run(bootstrap.prepare(system))
    environment = processes.clean_environment(
        RESCIND_DATA=str(system.data),
        RESCIND_POSTGRES_DSN=shared_system.dsn,
        RESCIND_NATS_URL=system.nats_url.get_secret_value(),
        RESCIND_HTTP="127.0.0.1:0",
    )
    admin = system.admin_token_path.read_text().strip()
    with (
        processes.running("-m", "rescind_authority", environ=environment) as run,
        httpx2.Client(
            base_url=str(run.ready["http"]),
            headers={"authorization": f"Bearer {admin}"},
            timeout=30,
        ) as http,
    ):
        authority = FuzzedAuthority(str(run.ready["http"]), http, "")
        fuzzer = authority.issue(
            "admin", "admin:fuzzer", scopes=FUZZER, audience=["rescind"], ttl=86_400
        )
        yield FuzzedAuthority(authority.url, http, fuzzer["token"], authority.add_client())
        assert run.end(signal.SIGTERM) == 0


@pytest.fixture
def document(authority: FuzzedAuthority) -> Mapping[str, Any]:
    found: dict[str, Any] = authority.http.get("/openapi.json").json()
    return found


@pytest.fixture
def operations(document: Mapping[str, Any]) -> list[Any]:
    load_all_checks()
    ours = {"generation": {"with-security-parameters": False}}
    api = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(ours))
    return [each.ok() for each in api.get_all_operations()]


def schemes(operation: Any) -> set[str]:
    return {name for each in operation.definition.raw.get("security", []) for name in each}


def fuzz(
    *strategies: st.SearchStrategy[Any], test: Callable[..., None], examples: int = EXAMPLES
) -> None:
    """Run a test on examples."""
    quick = [HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.large_base_example]
    bounded = settings(
        max_examples=examples, suppress_health_check=quick, phases=[Phase.generate, Phase.shrink]
    )
    with suppress(Unsatisfiable):  # a call without parameters has none that could be wrong
        bounded(given(*strategies)(test))()


def test_every_answer_conforms_to_the_openapi_document(
    authority: FuzzedAuthority, operations: list[Any], subtests: pytest.Subtests
) -> None:
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in CHECKS]
    known = {
        "token_id": authority.issue("agent", "agent:fuzz")["token_id"],
        "revocation_id": authority.revoke("subject:agent:elsewhere", effect="suspend"),
        "subject": "agent:fuzz",
        "selector": ["subject:agent:fuzz"],
        "token_ids": ["tok_00000000000000000000000000"],
    }

    def call(case: Any, real: dict[str, bool]) -> None:
        names = {name: known[name] for name, wanted in real.items() if wanted}
        replace(case.path_parameters, names)
        replace(case.body, names)
        headers = {"authorization": authority.authorization(case.operation)}
        timeout_s = SILENT_S if case.operation.path == ENDLESS else 30
        response = case.call(base_url=authority.url, headers=headers, timeout=timeout_s)
        assert response.status_code != httpx2.codes.UNAUTHORIZED, "the call has a good token"
        if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
            return  # documented; a wait that is shorter than a look at Postgres ends so
        case.validate_response(response, checks=checks)

    naming = st.fixed_dictionaries({name: st.booleans() for name in known})
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if operation.path == ENDLESS and mode is GenerationMode.POSITIVE:
                continue
            with subtests.test(operation.label, mode=mode.value):
                fuzz(operation.as_strategy(generation_mode=mode), naming, test=call)
    assert authority.http.get("/readyz").json()["status"] == "ready"


def replace(where: object, names: Mapping[str, object]) -> None:
    """Put names of real things where a case has made some up."""
    if isinstance(where, dict):
        where.update({name: real for name, real in names.items() if name in where})


def test_a_call_that_needs_a_token_refuses_a_missing_invented_or_ended_one(
    authority: FuzzedAuthority, operations: list[Any], subtests: pytest.Subtests
) -> None:
    dead = over(authority)

    def call(case: Any) -> None:
        kind = "admin" if "admin token" in schemes(case.operation) else "session"
        for bearer in (None, "x", "rsc_agt_" + "0" * 60, *dead[kind]):
            headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
            response = case.call(base_url=authority.url, headers=headers, timeout=30)
            assert response.status_code == httpx2.codes.UNAUTHORIZED, response.text
            assert response.headers["www-authenticate"][0].startswith("Bearer")

    # `integration/oauth/test_client_authentication.py` refuses clients, by Basic and by the form.
    for operation in (each for each in operations if schemes(each) - {"OAuth client"}):
        with subtests.test(operation.label):
            strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            fuzz(strategy, test=call, examples=2)


def over(authority: FuzzedAuthority) -> dict[str, list[str]]:
    """Give tokens that were good once, of the kinds that calls are authorised by."""
    found: dict[str, list[str]] = {}
    facts = {"admin": {"audience": ["rescind"], "scopes": FUZZER}, "session": {}}
    for kind, more in facts.items():
        revoked, rotated, expired, held = (
            authority.issue(kind, f"{kind}:over-{n}", **more) for n in range(4)
        )
        authority.revoke(f"token:{revoked['token_id']}")
        authority.revoke(f"subject:{held['subject']}", effect="suspend")
        for path, body in (
            (f"/v1/tokens/{rotated['token_id']}/rotate", {"on_reuse": "deny"}),
            (f"/v1/tokens/{expired['token_id']}/expire", {}),
        ):
            assert authority.http.post(path, json=body).status_code == httpx2.codes.OK
        found[kind] = [each["token"] for each in (revoked, rotated, expired, held)]
    return found
