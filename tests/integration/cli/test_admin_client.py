"""The clients against a real system of `rescind up`: found without arguments, answers as typed."""

import os
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support import typed_answers

from rescind import Allowed, Denied, Reason, Verifier
from rescind.client import Admin, AsyncAdmin, Bearer, settings
from rescind.client.admin import ClientDetails, RevocationItem
from rescind.client.admin.responses.revocations import RevocationDetails, RevocationPreview
from rescind.client.admin.responses.token_changes import TokenChange
from rescind.client.admin.responses.tokens import TokenProperties

DETAILS = RevocationDetails


@pytest.fixture(scope="module")
def ready(own_system: Mapping[str, Any]) -> Mapping[str, Any]:
    """Be a system of its own: a sidecar of it is evicted."""
    return own_system


@pytest.fixture(autouse=True)
def environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the data directory of the running system, and no other setting."""
    for variable in [name for name in os.environ if name.startswith("RESCIND_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(data))


@pytest.fixture
def admin() -> Iterator[Admin]:
    with Admin.from_environment() as admin:
        yield admin


class AnswerTypes:
    """Compare answers with what a client's method says that it returns."""

    def __init__(self, client: type[Admin | Bearer]) -> None:
        self._client = client
        self.compared: set[str] = set()

    def typed(self, name: str, found: Any, hint: Any = None) -> Any:
        """Return an answer after comparing it with a type: by default that of the method."""
        self.compared.add(name)
        if hint is None:
            hint = typing.get_type_hints(getattr(self._client, name), include_extras=True)["return"]
        assert list(typed_answers.faults(found, hint, name)) == []
        return found

    def first(self, name: str, found: Iterator[Any]) -> Any:
        """Return the first entry of a list after comparing it."""
        hints = typing.get_type_hints(getattr(self._client, name), include_extras=True)
        return self.typed(name, next(found), typing.get_args(hints["return"])[0])

    def missed(self) -> set[str]:
        """Return the calls that nothing was compared of."""
        public = {name for name in dir(self._client) if not name.startswith("_")}
        return public - self.compared - {"close", "from_environment"}


def test_every_answer_to_a_holder_has_its_declared_type(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = AnswerTypes(Bearer)
    session = admin.issue(subject="user:typed", kind="session", user_agent="a browser")
    assert session.token is not None
    monkeypatch.setenv("RESCIND_TOKEN", session.token.reveal())
    with Bearer.from_environment() as bearer:
        child = bearer.delegate(subject="user:typed/helper")
        answers.typed("delegate", child.facts, TokenProperties)
        assert answers.typed("sessions", bearer.sessions())["sessions"][0]["current"]
        answers.typed("rotate", bearer.rotate(overlap=60).facts, TokenChange)
        answers.typed("log_out", bearer.log_out(wait=True, timeout=8))
    assert answers.missed() == set()


async def test_a_program_without_settings_finds_the_same_system_as_the_command(
    rescind: Any,
) -> None:
    async with AsyncAdmin.from_environment() as admin:
        issued = await admin.issue(subject="agent:found-here", kind="agent")
        assert issued.token is not None
        verifier = Verifier.attach(timeout_s=5)
        try:
            assert isinstance(await verifier.acheck(issued.token.reveal()), Allowed)
            done = await admin.revoke(f"token:{issued.token_id}", wait=True, timeout=8)
            assert done["state"] == "enforced"
            assert verifier.check(issued.token.reveal()) == Denied(Reason.REVOKED)
        finally:
            verifier.close()
        ours = {each["token_id"] async for each in admin.tokens(subject="agent:found-here")}
    assert ours == {issued.token_id}
    shown = rescind("tokens", "show", issued.token_id, "--json")
    assert '"state":"revoked"' in shown.stdout


def test_every_answer_to_an_administrator_has_its_declared_type(admin: Admin) -> None:
    answers = AnswerTypes(Admin)
    typed, first = answers.typed, answers.first
    issued = admin.issue(
        subject="agent:typed", kind="agent", scopes=["a", "b"], labels={"x": "y"}, tenant="typed"
    )
    assert issued.token is not None
    typed("issue", issued.facts, TokenProperties)
    with Bearer(settings.load().admin().url, issued.token) as bearer:
        child = bearer.delegate(subject="agent:typed/child", scopes=["a"])
    one = issued.token_id
    narrowed = typed("narrow", admin.narrow(f"token:{one}", remove=["b"]), DETAILS)
    typed("token", admin.token(one))
    typed("presented", admin.presented(issued.token))
    first("tokens", admin.tokens(tenant="typed"))
    typed("count_tokens", admin.count_tokens(tenant="typed"))
    typed("tree", admin.tree(one))
    assert first("children", admin.children(one))["token_id"] == child.token_id
    first("revocations", admin.revocations(standing="true", handle=[f"token:{one}"]))
    typed("lift", admin.lift(narrowed["id"], wait=True, timeout=8))
    rotated = admin.rotate(one, overlap=5, wait=True, timeout=8)
    typed("rotate", rotated.facts, TokenChange)
    assert rotated.facts["receipt"] is not None
    typed("expire", admin.expire(child.token_id))
    outcomes = typed("expire_each", admin.expire_each([one, "tok_00000000000000000000000000"]))
    assert [each["problem"] is None for each in outcomes["outcomes"]] == [True, False]
    typed("suspend", admin.suspend("tenant:typed", dry_run=True), RevocationPreview)
    typed("kill", admin.kill("agent:typed", dry_run=True), RevocationPreview)
    last = admin.issue(subject="agent:typed", kind="agent")
    assert last.token is not None
    typed("revoke_token", admin.revoke_token(last.token), DETAILS)
    revoked = typed("revoke", admin.revoke(f"token:{last.token_id}", wait=True, timeout=8), DETAILS)
    assert revoked["receipt"]["verifiers"]
    typed("receipt", admin.receipt(revoked["id"]))
    first("receipt_pages", admin.receipt_pages(revoked["id"]))
    typed("revocation", admin.revocation(revoked["id"]))
    commands: list[RevocationItem] = [
        {"selector": ["subject:agent:nobody"]},
        {"selector": ["nonsense"]},
    ]
    batch = typed("revoke_each", admin.revoke_each(commands, wait=True, timeout=8))
    assert (batch["committed"], batch["refused"]) == (1, 1)
    first("events", admin.events(after=revoked["seq"] - 1))
    typed("term", admin.term())
    typed("set_term", admin.set_term(admin.term()["target_term_ms"]))
    typed("health", admin.health())
    added = admin.add_client("typed", introspect=True)
    typed("add_client", added.facts, ClientDetails)
    typed("rotate_client", admin.rotate_client("typed", overlap=5).facts, ClientDetails)
    typed("client", admin.client("typed"))
    first("clients", admin.clients())
    assert len(typed("remove_client", admin.remove_client("typed"))["revocations"]) == 2
    instances = typed("fleet", admin.fleet(ended=True))["instances"]
    typed("evict", admin.evict(instances[0]["instance"], reason="its process enrols again"))
    assert answers.missed() == set()
