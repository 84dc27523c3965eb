"""Which calls each proxy lets through, and how it refuses the others."""

import posixpath
from urllib.parse import unquote

import pytest
from tests.support.proxies.caller import Answer, Caller
from tests.support.proxies.programs import NGINX, Proxy
from tests.support.proxies.site import Site
from tests.support.sidecar import LedgerInMemory, now_us

from rescind.core.conditions import Conditions

READ = ("search:read",)
INVALID = 'Bearer error="invalid_token"'


def assert_refused(answer: Answer, status: int, reason: str, challenge: str | None) -> None:
    assert answer.reached is None
    assert (answer.status, answer.header("x-rescind-reason")) == (status, reason)
    assert answer.header("www-authenticate") == challenge
    assert answer.header("cache-control") == "no-store"


def test_a_good_token_reaches_the_service_with_its_subject(caller: Caller, behind: Site) -> None:
    token = behind.link.issue("agent:good", scopes=READ)
    for path in ("/p", "/any/p", "/deep/er?x=1&y=%20"):
        answer = caller.call(path, token)
        assert (answer.status, answer.body) == (200, b"served")
        assert answer.reached is not None
        assert answer.reached.path == path
        assert answer.reached.all("x-rescind-subject") == ["agent:good"]
        assert answer.reached.all("authorization") == [f"Bearer {token}"]


@pytest.mark.parametrize("path", ["/p", "/any/p"])
def test_a_call_without_a_token_is_asked_for_one(caller: Caller, path: str) -> None:
    assert_refused(caller.call(path), 401, "missing", 'Bearer realm="rescind"')


def test_basic_credentials_are_not_a_token(caller: Caller) -> None:
    answer = caller.call("/p", headers=[("Authorization", "Basic dXNlcjpwYXNz")])
    assert_refused(answer, 401, "missing", 'Bearer realm="rescind"')


@pytest.mark.parametrize("token", ["rsc_agt_none", "x" * 500, "eyJ.eyJ.sig"])
def test_what_is_not_a_token_is_malformed(caller: Caller, token: str) -> None:
    assert_refused(caller.call("/p", token), 401, "malformed", INVALID)


def test_a_token_that_was_never_issued_is_unknown(caller: Caller) -> None:
    assert_refused(caller.call("/p", LedgerInMemory().issue()), 401, "unknown", INVALID)


def test_an_expired_token_is_refused(caller: Caller, behind: Site) -> None:
    token = behind.link.issue(scopes=READ, expires_at_us=now_us() - 1)
    assert_refused(caller.call("/p", token), 401, "expired", INVALID)


def test_a_revoked_token_is_refused_at_the_next_call(
    caller: Caller, behind: Site, proxy: Proxy
) -> None:
    subject = f"agent:revoked-{proxy.name}"
    token = behind.link.issue(subject, scopes=READ)
    with caller.connected() as connection:
        assert caller.send(connection, "/p", token).status == 200
        behind.sidecar.push(behind.link.revoke(f"subject:{subject}"))
        assert_refused(caller.send(connection, "/p", token), 401, "revoked", INVALID)


def test_each_route_requires_its_own_scopes(caller: Caller, behind: Site) -> None:
    poor = behind.link.issue(scopes=("mail:send",))
    challenge = 'Bearer error="insufficient_scope", scope="search:read"'
    assert_refused(caller.call("/p", poor), 403, "insufficient_scope", challenge)
    assert caller.call("/any/p", poor).status == 200
    assert caller.call("/p", behind.link.issue(scopes=("search:*",))).status == 200


def test_a_token_for_another_service_is_refused(caller: Caller, behind: Site) -> None:
    other = behind.link.issue(scopes=READ, audience=("mail",))
    assert_refused(caller.call("/p", other), 401, "wrong_audience", INVALID)
    own = behind.link.issue(scopes=READ, audience=("search", "mail"))
    assert caller.call("/p", own).status == 200


def test_the_query_of_the_caller_changes_neither_scopes_nor_audience_nor_position(
    caller: Caller, behind: Site
) -> None:
    other = behind.link.issue(scopes=READ, audience=("mail",))
    assert_refused(caller.call("/any/p?audience=mail", other), 401, "wrong_audience", INVALID)
    good = behind.link.issue(scopes=READ)
    far = f"?min_seq={1 << 40}&require=nothing:here&scope=&audience=mail&unknown=1"
    for path in ("/p", "/any/p"):
        answer = caller.call(path + far, good)
        assert (answer.status, answer.reached and answer.reached.path) == (200, path + far)


def test_a_token_that_is_bound_to_networks_is_checked_by_the_address_that_connected(
    caller: Caller, behind: Site
) -> None:
    here = behind.link.issue(scopes=READ, conditions=Conditions(addresses=("127.0.0.0/8",)))
    there = behind.link.issue(scopes=READ, conditions=Conditions(addresses=("10.0.0.0/8",)))
    made_up = [
        (name, "10.1.2.3")
        for name in ("X-Forwarded-For", "X-Real-IP", "X_Real_IP", "Forwarded", "True-Client-IP")
    ]
    for headers in ((), made_up):
        assert caller.call("/p", here, headers=headers).status == 200
        assert_refused(caller.call("/p", there, headers=headers), 401, "wrong_address", INVALID)


def test_two_authorization_headers_are_refused(caller: Caller, behind: Site, proxy: Proxy) -> None:
    good, other = (behind.link.issue(scopes=READ) for _ in range(2))
    answer = caller.call("/p", good, headers=[("Authorization", f"Bearer {other}")])
    assert answer.reached is None
    # nginx refuses such a request itself.
    assert answer.status == (400 if proxy is NGINX else 401)
    joined = caller.call("/p", headers=[("Authorization", f"Bearer {good}, Bearer {other}")])
    assert (joined.status, joined.reached) == (401, None)


def test_a_connection_gives_no_call_the_verdict_of_another(caller: Caller, behind: Site) -> None:
    good = behind.link.issue(scopes=READ)
    poor = behind.link.issue(scopes=("mail:send",))
    expected = {good: 200, poor: 403, None: 401}
    with caller.connected() as connection:
        for token in (good, None, good, poor, good, None, poor, good):
            answer = caller.send(connection, "/p", token)
            assert answer.status == expected[token]
            assert (answer.reached is not None) == (token == good)


@pytest.mark.parametrize("route", ["/open", "/any"])
@pytest.mark.parametrize(
    "trick",
    [
        "/../p",
        "/%2e%2e/p",
        "/.%2e/p",
        "/..%2fp",
        "/%2e%2e%2fp",
        "/..%5cp",
        "/..%5Cp",
        "/..\\p",
        "//../../p",
        "/./../p",
    ],
)
def test_no_spelling_of_a_path_avoids_the_rule_of_its_route(
    caller: Caller, behind: Site, route: str, trick: str
) -> None:
    poor = behind.link.issue(scopes=("mail:send",))
    answer = caller.call(route + trick, poor)
    if answer.reached is None:
        assert answer.status in {301, 307, 308, 400, 403, 404}
    else:  # the service reads it as a path of the same route, also if it takes \\ for a slash
        path = posixpath.normpath(unquote(answer.reached.path).replace("\\", "/"))
        assert path.startswith(f"{route}/")


def test_the_open_route_needs_no_token(caller: Caller) -> None:
    assert caller.call("/open/p").status == 200
