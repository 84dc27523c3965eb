"""The administrator's client against an HTTP server that answers by script."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rescind.client import Admin, AsyncAdmin, AsyncBearer, Bearer
from rescind.client.problems import OutcomeUnknownError, ProblemError
from rescind.core.secret import Secret
from rescind.errors import (
    MalformedMessageError,
    MalformedTokenError,
    RescindError,
    UnreachableError,
)

Answer = tuple[int, str, bytes]
TOKEN = Secret("rsc_adm_secret")
HANG_UP: Answer = (0, "", b"")


def answer(status: int, document: object, kind: str = "application/json") -> Answer:
    return status, kind, json.dumps(document).encode()


def problem(status: int, slug: str, **more: object) -> Answer:
    members = {"type": f"urn:rescind:problem:{slug}", "title": "T", "status": status, **more}
    return answer(status, members, "application/problem+json")


def stream(*seqs: int) -> Answer:
    text = "".join(f'id: {n}\r\nevent: revocation\r\ndata: {{"seq": {n}}}\r\n\r\n' for n in seqs)
    return 200, "text/event-stream", f": hello\r\n\r\n{text}".encode()


@dataclass
class Script:
    """Answer in order, and keep what was asked. The last answer stays."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def take(self, request: BaseHTTPRequestHandler) -> Answer:
        length = int(request.headers.get("content-length") or 0)
        body = json.loads(request.rfile.read(length)) if length else None
        self.asked.append(
            {
                "call": f"{request.command} {request.path}",
                "body": body,
                "headers": {name.lower(): text for name, text in request.headers.items()},
            }
        )
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            status, kind, body = script.take(self)
            self.close_connection = True
            if not status:
                return
            self.send_response(status)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815 - http.server looks these names up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def admin(script: Script) -> Iterator[Admin]:
    with Admin(script.url, TOKEN) as admin:
        yield admin


def test_issue_takes_the_secret_out_of_the_answer(script: Script, admin: Admin) -> None:
    script.answers = [answer(201, {"token": "rsc_agt_x", "token_id": "tok_1", "subject": "s:1"})]
    issued = admin.issue(subject="s:1", kind="agent", ttl=60, idempotency_key="k")
    assert issued.token is not None
    assert issued.token.reveal() == "rsc_agt_x"
    assert "rsc_agt_x" not in repr(issued)
    expected: dict[str, Any] = {"token_id": "tok_1", "subject": "s:1"}
    assert issued.facts == expected
    (asked,) = script.asked
    assert asked["call"] == "POST /v1/tokens"
    assert asked["body"] == {"subject": "s:1", "kind": "agent", "ttl": 60}
    assert asked["headers"]["idempotency-key"] == "k"
    assert asked["headers"]["authorization"] == f"Bearer {TOKEN.reveal()}"


def test_a_repeated_issue_has_no_secret(script: Script, admin: Admin) -> None:
    script.answers = [answer(200, {"token": None, "token_id": "tok_1"})]
    assert admin.issue(subject="s:1", kind="agent").token is None


def test_a_bearer_delegates_with_its_own_token(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_URL", script.url)
    monkeypatch.setenv("RESCIND_TOKEN", "rsc_agt_parent")
    script.answers = [answer(201, {"token": "rsc_agt_child", "token_id": "tok_2"})]
    with Bearer.from_environment() as bearer:
        issued = bearer.delegate(subject="agent:o/a", scopes=["x"], max_depth=0)
    assert issued.token is not None
    assert issued.token.reveal() == "rsc_agt_child"
    (asked,) = script.asked
    assert asked["call"] == "POST /v1/delegations"
    assert asked["body"] == {"subject": "agent:o/a", "scopes": ["x"], "max_depth": 0}
    assert asked["headers"]["authorization"] == "Bearer rsc_agt_parent"
    assert asked["headers"]["idempotency-key"]
    monkeypatch.delenv("RESCIND_TOKEN")
    with pytest.raises(RescindError, match="RESCIND_TOKEN"):
        Bearer.from_environment()


async def test_a_bearer_delegates_with_the_asynchronous_client_too(script: Script) -> None:
    async with AsyncBearer(script.url, TOKEN) as bearer:
        script.answers = [answer(201, {"token": "t", "token_id": "tok_1"})]
        assert (await bearer.delegate(subject="agent:o/a")).token_id == "tok_1"
        script.answers = [HANG_UP]
        with pytest.raises(OutcomeUnknownError):
            await bearer.delegate(subject="agent:o/a")


def test_every_command_has_a_key_of_its_own(script: Script, admin: Admin) -> None:
    script.answers = [answer(201, {"id": "rev_1"})]
    admin.revoke("token:tok_1", reason="r")
    admin.revoke_token(Secret("rsc_agt_x"))
    keys = [asked["headers"]["idempotency-key"] for asked in script.asked]
    assert len(set(keys)) == 2
    assert script.asked[0]["body"] == {"selector": ["token:tok_1"], "reason": "r"}
    assert script.asked[1]["body"] == {"token": "rsc_agt_x"}


def test_a_list_goes_on_over_its_pages(script: Script, admin: Admin) -> None:
    script.answers = [
        answer(200, {"tokens": [{"token_id": "a"}], "next": "c 1"}),
        answer(200, {"tokens": [{"token_id": "b"}], "next": None}),
    ]
    assert [each["token_id"] for each in admin.tokens(label=["a=b", "c=d"])] == ["a", "b"]
    calls = [asked["call"] for asked in script.asked]
    assert calls[0] == "GET /v1/tokens?label=a%3Db&label=c%3Dd&limit=200"
    assert calls[1] in {f"{calls[0]}&cursor=c+1", f"{calls[0]}&cursor=c%201"}


def test_a_short_page_is_not_the_end(script: Script, admin: Admin) -> None:
    script.answers = [
        answer(200, {"tokens": [], "next": "c1"}),
        answer(200, {"tokens": [{"token_id": "a"}], "next": "c2"}),
        answer(200, {"tokens": [], "next": None}),
    ]
    assert [each["token_id"] for each in admin.tokens(state="expired")] == ["a"]


def test_tokens_are_counted_by_the_authority(script: Script, admin: Admin) -> None:
    script.answers = [answer(200, {"count": 7, "exact": True})] * 2
    assert admin.count_tokens(label=["a=b"], state="active") == {"count": 7, "exact": True}
    assert script.asked[0]["call"] == "GET /v1/tokens/count?label=a%3Db&state=active"


def test_a_name_cannot_leave_its_place_in_the_path(script: Script, admin: Admin) -> None:
    script.answers = [answer(200, {})]
    admin.token("../fleet?x=1")
    assert script.asked[0]["call"] == "GET /v1/tokens/..%2Ffleet%3Fx%3D1"


def test_a_refusal_carries_its_problem(script: Script, admin: Admin) -> None:
    errors = [{"field": "subject", "detail": "expected <type>:<name>"}]
    script.answers = [problem(422, "invalid-request", detail="not valid.", errors=errors)]
    with pytest.raises(ProblemError, match="not valid") as raised:
        admin.issue(subject="x", kind="agent")
    assert raised.value.type == "urn:rescind:problem:invalid-request"
    assert raised.value.status == 422
    assert raised.value.errors[0].field == "subject"
    assert "expected <type>:<name>" in str(raised.value)


@pytest.mark.parametrize(
    "unclear",
    [HANG_UP, (502, "text/html", b"<h1>Bad Gateway"), problem(503, "outcome-unknown")],
)
def test_a_command_without_a_clear_answer_names_its_key(
    script: Script, admin: Admin, unclear: Answer
) -> None:
    script.answers = [unclear]
    with pytest.raises(OutcomeUnknownError, match="key-1") as raised:
        admin.revoke("*", idempotency_key="key-1")
    assert raised.value.idempotency_key == "key-1"


def test_a_problem_that_states_that_nothing_was_changed_is_not_an_unknown_outcome(
    script: Script, admin: Admin
) -> None:
    script.answers = [problem(503, "store-unavailable", detail="Nothing was changed.")]
    with pytest.raises(ProblemError, match="Nothing was changed"):
        admin.revoke("*")


def test_an_unanswered_query_is_only_unreachable(script: Script, admin: Admin) -> None:
    script.answers = [HANG_UP]
    with pytest.raises(UnreachableError, match=script.url):
        admin.fleet()


def test_a_missing_authority_is_unreachable_also_for_a_command() -> None:
    with (
        Admin("http://127.0.0.1:9", TOKEN) as admin,
        pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9") as raised,
    ):
        admin.revoke("*")
    assert raised.value.__cause__ is not raised.value, "a chain of causes has an end"


NOTHING = "http://127.0.0.1:9"
NO_FLEET: dict[str, Any] = {"instances": []}


@pytest.mark.parametrize("named", ["{gone},{here}", " {gone} , {gone}, {here}", "{here},{gone}"])
def test_each_of_several_urls_is_tried(script: Script, named: str) -> None:
    script.answers = [answer(201, {"id": "rev_1"}), answer(200, {"instances": []})]
    urls = named.format(gone=NOTHING, here=script.url)
    with Admin(urls, TOKEN) as admin:
        assert admin.revoke("*")["id"] == "rev_1"
        assert admin.fleet() == NO_FLEET


async def test_the_asynchronous_client_tries_each_of_several_urls(script: Script) -> None:
    script.answers = [answer(200, {"instances": []})]
    async with AsyncAdmin(f"{NOTHING},{script.url}", TOKEN) as admin:
        assert await admin.fleet() == NO_FLEET


def test_if_none_of_several_urls_answers_all_are_named() -> None:
    with (
        Admin(f"{NOTHING},http://127.0.0.1:1", TOKEN) as admin,
        pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9, .*127\.0\.0\.1:1"),
    ):
        admin.fleet()


def test_a_command_that_may_have_arrived_is_not_sent_to_another_authority(script: Script) -> None:
    script.answers = [HANG_UP, answer(201, {"id": "rev_1"})]
    with (
        Admin(f"{script.url},{script.url}/", TOKEN) as admin,
        pytest.raises(OutcomeUnknownError),
    ):
        admin.revoke("*")
    assert len(script.answers) == 1


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[::1", "http://a b"])
def test_an_invalid_url_is_reported(url: str) -> None:
    with Admin(url, TOKEN) as admin, pytest.raises(RescindError, match="URL"):
        admin.fleet()


@pytest.mark.parametrize("other", [(200, "text/html", b"<html>"), answer(200, [1])])
def test_another_server_at_the_url_is_reported(script: Script, admin: Admin, other: Answer) -> None:
    script.answers = [other]
    with pytest.raises(MalformedMessageError, match="URL"):
        admin.fleet()


def test_an_authority_that_is_not_ready_still_reports_its_health(
    script: Script, admin: Admin
) -> None:
    script.answers = [answer(503, {"status": "unavailable", "postgres": "gone"})]
    assert admin.health()["postgres"] == "gone"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass before a stream is opened again."""
    monkeypatch.setattr("rescind.client.admin.adapter.RETRY_S", 0)


@pytest.mark.usefixtures("at_once")
def test_a_broken_stream_is_resumed_behind_the_last_event(script: Script, admin: Admin) -> None:
    script.answers = [stream(8, 9), HANG_UP, stream(10)]
    events = admin.events(after=7)
    assert [next(events)["seq"] for _ in range(3)] == [8, 9, 10]
    assert [asked["headers"]["last-event-id"] for asked in script.asked] == ["7", "9", "9"]


@pytest.mark.usefixtures("at_once")
def test_a_stream_from_now_on_begins_at_the_newest_event_so_that_a_break_loses_none(
    script: Script, admin: Admin
) -> None:
    script.answers = [
        answer(200, {"revocations": [{"seq": 41}], "next": None}),
        HANG_UP,
        stream(42),
    ]
    assert next(admin.events())["seq"] == 42
    assert script.asked[-1]["headers"]["last-event-id"] == "41"


def test_a_refused_stream_raises_the_reason(script: Script, admin: Admin) -> None:
    script.answers = [problem(403, "forbidden", detail="a scope is missing")]
    with pytest.raises(ProblemError, match="a scope is missing"):
        next(admin.events(after=0))


@pytest.mark.usefixtures("at_once")
async def test_the_asynchronous_client_does_the_same(script: Script) -> None:
    async with AsyncAdmin(script.url, TOKEN) as admin:
        script.answers = [answer(201, {"token": "t", "token_id": "tok_1"})]
        assert (await admin.issue(subject="s:1", kind="agent")).token_id == "tok_1"
        script.answers = [problem(404, "not-found", detail="no such")]
        with pytest.raises(ProblemError, match="no such"):
            await admin.token("tok_2")
        script.answers = [HANG_UP]
        with pytest.raises(OutcomeUnknownError):
            await admin.revoke("*")
        script.answers = [answer(200, {"revocations": [{"seq": 1}], "next": None})]
        assert [each["seq"] async for each in admin.revocations()] == [1]
        script.answers = [answer(200, {"count": 7, "exact": False})]
        assert (await admin.count_tokens(tenant="t"))["count"] == 7
        script.answers = [stream(5), HANG_UP, stream(6)]
        seqs: list[int] = []
        async with asyncio.timeout(10):
            async for event in admin.events(after=4):
                seqs.append(event["seq"])
                if seqs[-1] == 6:
                    break
        assert seqs == [5, 6]


def fleet(url: str, token: Secret) -> None:
    with Admin(url, token) as admin:
        admin.fleet()


def rotate(url: str, token: Secret) -> None:
    async def asked() -> None:
        async with AsyncBearer(url, token) as bearer:
            await bearer.rotate()

    asyncio.run(asked())


@pytest.mark.parametrize("ask", [fleet, rotate])
@pytest.mark.parametrize(
    "text", ["", " ", "two tokens", "two\nlines", "with\rreturn", "töken", "nul\0"]
)
def test_a_token_that_no_header_can_carry_is_refused_before_anything_is_sent(
    script: Script, ask: Callable[[str, Secret], None], text: str
) -> None:
    with pytest.raises(MalformedTokenError, match="one line of visible ASCII") as refused:
        ask(script.url, Secret(text))
    assert not text.strip() or text not in str(refused.value)
    assert script.asked == []


def test_the_environment_names_the_authority_and_the_token(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = tmp_path_factory.mktemp("admin") / "token"
    held.write_text("from-a-file\n")
    monkeypatch.setenv("RESCIND_URL", script.url)
    monkeypatch.delenv("RESCIND_ADMIN_TOKEN", raising=False)
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN_FILE", str(held))
    script.answers = [answer(200, {})]
    with Admin.from_environment() as admin:
        admin.fleet()
    assert script.asked[0]["headers"]["authorization"] == "Bearer from-a-file"
    held.unlink()
    with pytest.raises(RescindError, match="cannot be read"):
        Admin.from_environment()


def test_each_effect_is_one_command_of_the_api(script: Script, admin: Admin) -> None:
    script.answers = [answer(201, {"id": "rev_1"})] * 4
    admin.suspend("tenant:t", until="2030-01-01T00:00:00Z", reason="odd")
    admin.narrow("tenant:t", remove=["tools:*"], exact=True)
    admin.kill("agent:x", wait=True)
    admin.lift("rev_1/x", reason="ours", idempotency_key="k")
    asked = [(each["call"], each["body"]) for each in script.asked]
    posted = "POST /v1/revocations"
    until = "2030-01-01T00:00:00Z"
    assert asked == [
        (posted, {"selector": ["tenant:t"], "effect": "suspend", "until": until, "reason": "odd"}),
        (
            posted,
            {"selector": ["tenant:t"], "effect": "narrow", "scopes": ["tools:*"], "exact": True},
        ),
        (posted, {"selector": ["chain:agent:x"], "effect": "kill", "wait": True}),
        (f"{posted}/rev_1%2Fx/lift", {"reason": "ours"}),
    ]
    assert script.asked[3]["headers"]["idempotency-key"] == "k"


def test_a_dry_run_of_each_effect_changes_nothing_and_so_has_no_key(
    script: Script, admin: Admin
) -> None:
    script.answers = [answer(200, {"tokens": 3})] * 5
    found = [
        admin.revoke("tenant:t", dry_run=True, exact=True),
        admin.revoke_token(Secret("rsc_agt_x"), dry_run=True),
        admin.suspend("tenant:t", dry_run=True),
        admin.narrow("tenant:t", remove=["x"], dry_run=True),
        admin.kill("agent:x", dry_run=True, idempotency_key="unused"),
    ]
    assert [each["tokens"] for each in found] == [3] * 5
    assert [each["body"].get("effect") for each in script.asked] == [
        None,
        None,
        "suspend",
        "narrow",
        "kill",
    ]
    assert all(each["body"]["dry_run"] is True for each in script.asked)
    assert not any("idempotency-key" in each["headers"] for each in script.asked)
    script.answers = [HANG_UP]
    with pytest.raises(UnreachableError):
        admin.revoke("tenant:t", dry_run=True)


def test_a_rotation_keeps_the_secret_apart_from_its_facts(script: Script, admin: Admin) -> None:
    script.answers = [answer(200, {"token": "rsc_agt_new", "token_id": "tok_1", "seq": 7})]
    rotated = admin.rotate("tok_1", overlap=30)
    assert rotated.token is not None
    assert rotated.token.reveal() == "rsc_agt_new"
    assert "rsc_agt_new" not in repr(rotated)
    assert rotated.facts == {"token_id": "tok_1", "seq": 7}


async def test_each_effect_has_an_asynchronous_call(script: Script) -> None:
    script.answers = [answer(201, {"id": "rev_1"})] * 4
    async with AsyncAdmin(script.url, TOKEN) as admin:
        await admin.suspend("tenant:t")
        await admin.narrow("tenant:t", remove=["x"])
        await admin.kill("agent:x")
        await admin.lift("rev_1")
    effects = [each["body"].get("effect") for each in script.asked]
    assert effects == ["suspend", "narrow", "kill", None]


def test_a_receipt_is_read_page_by_page(script: Script, admin: Admin) -> None:
    pages = [
        {"verifiers": [{"instance": "a"}], "grace": [], "next": "1000"},
        {"verifiers": [{"instance": "b"}], "grace": [], "next": None},
    ]
    script.answers = [
        answer(200, {"id": "rev_1", "state": "enforced", "receipt": page}) for page in pages
    ]
    assert list(admin.receipt_pages("rev_1", timeout_s=2)) == pages
    assert [asked["call"] for asked in script.asked] == [
        "GET /v1/revocations/rev_1/receipt?timeout=2",
        "GET /v1/revocations/rev_1/receipt?timeout=2&cursor=1000",
    ]


def test_a_receipt_of_an_older_authority_is_one_page_and_a_missing_one_has_no_page(
    script: Script, admin: Admin
) -> None:
    script.answers = [answer(200, {"state": "enforced", "receipt": {"verifiers": []}})]
    assert len(list(admin.receipt_pages("rev_1"))) == 1
    script.answers = [answer(202, {"state": "committed", "receipt": None})]
    assert list(admin.receipt_pages("rev_1")) == []
