"""Which X-Rescind-* headers reach the service: the sidecar's own, and none of the caller's."""

import json
from collections.abc import Callable

import pytest
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import Proxy
from tests.support.proxies.service import Reached
from tests.support.proxies.site import Site

READ = ("search:read",)
NAMES = (
    "x-rescind-subject",
    "x-rescind-kind",
    "x-rescind-token-id",
    "x-rescind-scopes",
    "x-rescind-scopes-removed",
    "x-rescind-scopes-removed-count",
    "x-rescind-chain",
    "x-rescind-as-of",
)
MADE_UP = "made-up"
ALIASES = "_.!#$%&'*+^`|~"
"""What CGI and WSGI turn into the hyphen's sign: RFC 9110 allows it in names."""


def told(reached: Reached | None) -> dict[str, str]:
    """Return what a service reads as X-Rescind-*, also through CGI, without the empty ones."""
    assert reached is not None
    found = reached.like("x-rescind")
    assert {name for name, texts in found.items() if len(texts) > 1} == set()
    return {name: texts[0] for name, texts in found.items() if texts[0]}


def test_the_service_reads_what_the_sidecar_told(caller: Caller, behind: Site) -> None:
    token = behind.link.issue("agent:näme", scopes=("search:read", "mail:send"))
    headers = told(caller.call("/p", token).reached)
    assert headers.pop("x-rescind-token-id").startswith("tok_")
    assert headers.pop("x-rescind-as-of").isdecimal()
    assert headers == {
        "x-rescind-subject": "agent:n%C3%A4me",
        "x-rescind-kind": "agent",
        "x-rescind-scopes": "mail:send search:read",
        "x-rescind-scopes-removed-count": "0",
    }


def test_the_service_reads_which_scopes_were_removed(
    caller: Caller, behind: Site, proxy: Proxy
) -> None:
    subject = f"agent:narrow-{proxy.name}"
    token = behind.link.issue(subject, scopes=("search:read", "mail:send"))
    selector = f"subject:{subject}"
    behind.sidecar.push(behind.link.revoke(selector, effect="narrow", scopes=("mail:send",)))
    headers = told(caller.call("/p", token).reached)
    assert headers["x-rescind-scopes"] == "search:read"
    assert headers["x-rescind-scopes-removed"] == "mail:send"
    assert headers["x-rescind-scopes-removed-count"] == "1"


@pytest.mark.parametrize("path", ["/p", "/any/p", "/open/p"])
def test_a_header_that_the_caller_made_up_never_reaches_the_service(
    caller: Caller, behind: Site, path: str
) -> None:
    """Also where the sidecar's own header is empty, as the chain is, or is not sent at all."""
    token = behind.link.issue("agent:true", scopes=READ)
    made_up = [(name, MADE_UP) for name in (*NAMES, "X-Rescind-Reason")]
    headers = told(caller.call(path, token, headers=made_up).reached)
    assert MADE_UP not in headers.values()
    assert headers.get("x-rescind-subject") == (None if "open" in path else "agent:true")
    assert "x-rescind-chain" not in headers


@pytest.mark.parametrize("path", ["/p", "/open/p"])
@pytest.mark.parametrize("sign", ALIASES)
def test_another_spelling_of_a_made_up_header_never_reaches_the_service(
    caller: Caller, behind: Site, path: str, sign: str
) -> None:
    token = behind.link.issue("agent:true", scopes=READ)
    made_up = [(name.replace("-", sign), MADE_UP) for name in NAMES]
    made_up += [(f"X-Rescind{sign}Subject", MADE_UP), (f"X{sign}Rescind-Subject", MADE_UP)]
    answer = caller.call(path, token, headers=made_up)
    if answer.reached is None:  # Envoy does not parse some of these signs
        assert answer.status == 400
    else:
        assert MADE_UP not in told(answer.reached).values()


def test_a_made_up_header_that_no_sidecar_sends_reaches_only_services_behind_nginx(
    caller: Caller, behind: Site, proxy: Proxy
) -> None:
    token = behind.link.issue(scopes=READ)
    headers = told(caller.call("/p", token, headers=[("X-Rescind-Other", MADE_UP)]).reached)
    assert (headers.get("x-rescind-other") == MADE_UP) == proxy.removes_by_name


@pytest.mark.parametrize("write", [str.title, str.lower, str.upper])
def test_a_caller_cannot_have_the_sidecars_headers_removed(
    caller: Caller, behind: Site, write: Callable[[str], str]
) -> None:
    """A proxy removes the headers that `Connection` names, as RFC 9110, section 7.6.1 says."""
    token = behind.link.issue("agent:true", scopes=READ)
    for value in (f"close, {', '.join(NAMES)}", NAMES[0], f"keep-alive,{NAMES[0]},x-other"):
        answer = caller.call("/p", token, headers=[("Connection", write(value))])
        if answer.reached is None:  # Envoy refuses such a request
            assert answer.status == 400
        else:
            headers = told(answer.reached)
            assert headers["x-rescind-subject"] == "agent:true"
            assert headers["x-rescind-scopes"] == "search:read"
            assert headers["x-rescind-scopes-removed-count"] == "0"


def test_eight_kilobytes_of_scopes_reach_the_service(caller: Caller, behind: Site) -> None:
    scopes = tuple(f"s{number:02}:".ljust(128, "x") for number in range(63))
    token = behind.link.issue(scopes=(*READ, *scopes))
    answer = caller.call("/p", token)
    assert answer.status == 200
    assert told(answer.reached)["x-rescind-scopes"] == " ".join(sorted((*READ, *scopes)))


def test_a_refusal_is_a_problem_that_names_the_reason(
    caller: Caller, behind: Site, proxy: Proxy
) -> None:
    for token, status, reason in (
        (None, 401, "missing"),
        (behind.link.issue(), 403, "insufficient_scope"),
    ):
        answer = caller.call("/p", token)
        assert answer.header("content-type") == "application/problem+json"
        problem = json.loads(answer.body)
        assert (problem["status"], problem["reason"]) == (status, reason)
        assert problem["type"] == f"urn:rescind:denied:{reason}"
        assert ("detail" in problem) == proxy.keeps_the_problem


def test_a_call_with_a_good_token_gets_no_header_of_the_sidecar(
    caller: Caller, behind: Site
) -> None:
    answer = caller.call("/p", behind.link.issue(scopes=READ))
    assert answer.status == 200
    assert [name for name, _ in answer.headers if name.startswith("x-rescind")] == []
