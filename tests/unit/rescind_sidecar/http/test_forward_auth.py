"""What a proxy hears about the call that it holds (docs/reference/verify.md)."""

import json

import pytest
from tests.support.http_exchange import ask, bearer, request, served
from tests.unit.rescind_sidecar.http.conftest import plane

from rescind.core.scopes import MAX_REPORTED_BYTES
from rescind.testing import FakeVerifier
from rescind_sidecar.data_plane import record_headers
from rescind_sidecar.http.messages import HttpRequest, HttpResponse


async def test_a_good_token_gets_200_and_headers_that_identify_it(
    port: int, verifier: FakeVerifier
) -> None:
    parent = verifier.issue(subject="agent:root", scopes={"a", "b"})
    verifier.revoke("subject:agent:nobody")
    child = verifier.issue(subject="agent:root/x", scopes={"b", "a"}, parent=parent)
    answer = await ask(port, request("/verify", bearer(child.token)))
    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers | {"connection": ""} == {
        "x-rescind-subject": "agent:root/x",
        "x-rescind-kind": "agent",
        "x-rescind-token-id": child.token_id,
        "x-rescind-scopes": "a b",
        "x-rescind-scopes-removed": "",
        "x-rescind-scopes-removed-count": "0",
        "x-rescind-chain": "agent:root",
        "x-rescind-as-of": "1",
        "cache-control": "no-store",
        "content-length": "0",
        "connection": "",
    }


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PROPFIND", "BREW", "M-SEARCH"]
)
async def test_the_method_does_not_affect_the_verdict(
    port: int, verifier: FakeVerifier, method: str
) -> None:
    good, bad = verifier.issue(), verifier.issue()
    verifier.revoke(f"token:{bad.token_id}")
    assert (await ask(port, request("/verify", bearer(good.token), method=method))).status == 200
    refused = await ask(port, request("/verify", bearer(bad.token), method=method))
    assert refused.status == 401
    assert refused.headers["x-rescind-reason"] == "revoked"
    assert refused.headers["content-length"] != "0"


@pytest.mark.parametrize(
    "path",
    [
        "/verify/",
        "/verify/v1/items",
        "/verify//double",
        "/verify/../healthz",
        "/verify/%2e%2e/%00/%ff?x=%0d%0aSet-Cookie:%20a=b",
        "/verify/" + "a" * 30_000,
        "/verify/%E2%9C%93/%c3%a9",
        "http://sidecar/verify/absolute",
    ],
)
async def test_any_path_below_verify_is_allowed(
    port: int, verifier: FakeVerifier, path: str
) -> None:
    answer = await ask(port, request(path, bearer(verifier.issue().token)))
    assert answer.status == 200
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/verifyx", "/%76erify", "//verify", "/", "/v1/verify", "/VERIFY"]
)
async def test_a_path_outside_verify_gets_no_verdict(
    port: int, verifier: FakeVerifier, path: str
) -> None:
    answer = await ask(port, request(path, bearer(verifier.issue().token)))
    assert answer.status == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "header", ["X-Nothing: 1", "Authorization: Basic dXNlcjpwdw==", "Authorization: Bearer",
               "Authorization:", "Authorization: Bearer a, Bearer b"],
)  # fmt: skip
async def test_without_a_token_the_challenge_has_no_error(port: int, header: str) -> None:
    answer = await ask(port, request("/verify", header))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="rescind"'
    assert answer.headers["x-rescind-reason"] == "missing"
    assert json.loads(answer.body)["reason"] == "missing"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_bad_token_is_invalid_and_the_reason_is_stated(
    port: int, verifier: FakeVerifier
) -> None:
    for header in (
        "Authorization: Bearer nonsense",
        "Authorization: Bearer \xff\xfe\x80",
        "Authorization: Bearer " + "x" * 10_000,
    ):
        answer = await ask(port, request("/verify", header))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert answer.headers["x-rescind-reason"] == "malformed"
        assert json.loads(answer.body)["reason"] == "malformed"
        assert answer.headers["content-type"] == "application/problem+json"
    other = await ask(port, request("/verify", bearer(FakeVerifier().issue().token)))
    assert other.headers["x-rescind-reason"] == "unknown"


async def test_the_scheme_may_be_in_any_case_and_two_headers_count_as_none(
    port: int, verifier: FakeVerifier
) -> None:
    token = verifier.issue().token
    for header in (f"authorization: bearer {token}", f"AUTHORIZATION:   BEARER   {token}  "):
        assert (await ask(port, request("/verify", header))).status == 200
    twice = await ask(port, request("/verify", bearer(token), bearer(token)))
    assert (twice.status, twice.headers["x-rescind-reason"]) == (401, "malformed")


async def test_a_missing_scope_is_403_and_names_what_is_needed(
    port: int, verifier: FakeVerifier
) -> None:
    token = verifier.issue(scopes={"a", "b"}).token
    for query in ("require=a&require=b", "require=a%20b", "scope=b+a", "require=a&scope=b",
                  "%72equire=a&sc%6Fpe=%62", "&require=a&&scope=b&", "require=+a++b+"):  # fmt: skip
        assert (await ask(port, request(f"/verify?{query}", bearer(token)))).status == 200
    answer = await ask(port, request("/verify?require=c+a&scope=b", bearer(token)))
    assert answer.status == 403
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="a b c"'
    )


@pytest.mark.parametrize(
    "scope", ["a%22,%20Basic%20x", "a%0d%0aSet-Cookie:b", "%e2%98%83", "%00", "%ff%fe", "\\"]
)
async def test_an_invalid_scope_is_refused_and_cannot_break_out_of_a_header(
    port: int, verifier: FakeVerifier, scope: str
) -> None:
    token = verifier.issue(scopes={"*"}).token
    answer = await ask(port, request(f"/verify?require={scope}", bearer(token)))
    assert answer.status == 400
    assert "set-cookie" not in answer.headers
    assert "www-authenticate" not in answer.headers


async def test_a_subject_cannot_break_out_of_its_header(port: int, verifier: FakeVerifier) -> None:
    parent = verifier.issue(subject="agent:a b, c%")
    child = verifier.issue(subject='user:é"☃', scopes=["ok"], parent=parent)
    answer = await ask(port, request("/verify", bearer(child.token)))
    assert answer.status == 200
    assert answer.headers["x-rescind-chain"] == "agent:a%20b,%20c%25"
    assert answer.headers["x-rescind-subject"] == 'user:%C3%A9"%E2%98%83'


async def test_another_audience_can_be_named_only_if_it_is_listed(
    port: int, verifier: FakeVerifier
) -> None:
    mail, search = verifier.issue(audience={"mail"}), verifier.issue(audience={"search"})
    listed = plane(verifier, audiences=["mail"])
    async with served(listed) as (other, _):
        for query, token, status in (
            ("", mail, 401),
            ("?audience=mail", mail, 200),
            ("?audience=mail", search, 401),
            ("?audience=mail&audience=mail", mail, 200),
            ("?audience=search", search, 200),
            ("?audience=billing", mail, 400),
            ("?audience=mail&audience=search", mail, 400),
            ("?audience=Mail", mail, 400),
            ("?audience=", mail, 400),
            ("?audience", mail, 400),
        ):
            answer = await ask(other, request(f"/verify{query}", bearer(token.token)))
            assert (query, answer.status) == (query, status)
    unlisted = await ask(port, request("/verify?audience=mail", bearer(mail.token)))
    assert (unlisted.status, "RESCIND_AUDIENCES" in unlisted.body.decode()) == (400, True)
    own = await ask(port, request("/verify?audience=search", bearer(search.token)))
    assert own.status == 200


async def test_an_audience_in_the_callers_own_query_is_refused(verifier: FakeVerifier) -> None:
    """Caddy without a `?` in `uri` sends such a query, and the call's own URI beside it."""
    mail = verifier.issue(audience={"mail"}, scopes={"ok"})
    async with served(plane(verifier, audiences=["mail"])) as (port, _):
        for query, called, status in (
            ("audience=mail", "/p?audience=mail", 400),
            ("audience=mail", "/p?page=2", 200),
            ("audience=mail", "/p", 200),
            ("audience=mail&require=ok", "/p?audience=mail", 200),
            ("require=ok", "/p?require=ok", 401),
        ):
            headers = bearer(mail.token), f"X-Forwarded-Uri: {called}"
            answer = await ask(port, request(f"/verify?{query}", *headers))
            assert (query, called, answer.status) == (query, called, status)


@pytest.mark.parametrize("path", ["/verify/", "/verify/x", "/verify//", "http://h/verify/x"])
@pytest.mark.parametrize(
    "query",
    ["require=zzz", "scope=zzz", "audience=elsewhere", "min_seq=latest", "min_seq=99999999",
     "require=", "a;b,c", "&".join(f"a={n}" for n in range(200)), "x=%ff%00"],
)  # fmt: skip
async def test_below_verify_the_query_belongs_to_the_application_and_is_ignored(
    port: int, verifier: FakeVerifier, path: str, query: str
) -> None:
    good, elsewhere = verifier.issue(), verifier.issue(audience={"elsewhere"})
    sent = f"{path}?{query}"
    assert (await ask(port, request(sent, bearer(good.token)))).status == 200
    answer = await ask(port, request(sent, bearer(elsewhere.token)))
    assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "wrong_audience")


@pytest.mark.parametrize(
    ("query", "status"),
    [("min_seq=0", 200), ("min_seq=1", 200), ("min_seq=2", 503), ("min_seq=1&min_seq=2", 503),
     ("min_seq=2&min_seq=0", 503), ("min_seq=18446744073709551615", 503)],
)  # fmt: skip
async def test_an_answer_covers_the_min_seq_that_is_demanded(
    port: int, verifier: FakeVerifier, query: str, status: int
) -> None:
    verifier.revoke("subject:agent:other")
    answer = await ask(port, request(f"/verify?{query}", bearer(verifier.issue().token)))
    reason = answer.headers.get("x-rescind-reason")
    assert (answer.status, reason) == (status, None if status == 200 else "unavailable")


@pytest.mark.parametrize(
    "query",
    ["min_seq=", "min_seq=-1", "min_seq=x", "min_seq=%D9%A3", "min_seq=18446744073709551616",
     "min_seq=1&min_seq=y", "audience=a&audience=b", "&".join("require=a" for _ in range(101)),
     "min_seq=" + "9" * 10_000, "min_seq=" + "0" * 21 + "2",
     "x=1", "require=a&x=1", "x", "=", "=a", "Require=a", "SCOPE=a", "scopes=a", "required=a",
     "scope%20=a", "scope[]=a", "scope%00=a", "%2572equire=a", "requ%E2%80%8Bire=a", "?require=a",
     "require", "require=", "require=+", "scope=%20%20", "require=a&scope=", "require=a%09b",
     "require=a*", "require=a&amp;scope=zzz", "require=a;scope=zzz", "require=a,zzz",
     "scope=a%20,zzz", "require=" + "a" * 129, "%ff=1"],
)  # fmt: skip
async def test_an_invalid_query_is_never_ignored(
    port: int, verifier: FakeVerifier, query: str
) -> None:
    for token in (verifier.issue(scopes={"*"}).token, "nonsense"):
        answer = await ask(port, request(f"/verify?{query}", bearer(token)))
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await ask(port, request(f"/verify?{query}"))).status == 400


async def test_a_fragment_hides_no_query(port: int, verifier: FakeVerifier) -> None:
    token = verifier.issue().token
    for target, status in (
        ("http://sidecar/verify#?require=zzz", 400),
        ("http://sidecar/verify?require=zzz#x", 400),
        ("/verify#?require=zzz", 404),
        ("/verify?require=zzz#x", 403),
    ):
        answer = await ask(port, request(target, bearer(token)))
        assert (target, answer.status) == (target, status)


async def test_an_encoded_separator_is_part_of_the_scope(port: int, verifier: FakeVerifier) -> None:
    odd = verifier.issue(scopes={"a,b", "c;d"}).token
    assert (await ask(port, request("/verify?require=a%2Cb%20c%3Bd", bearer(odd)))).status == 200
    plain = verifier.issue(scopes={"a", "b", "c", "d"}).token
    assert (await ask(port, request("/verify?require=a%2Cb", bearer(plain)))).status == 403


async def test_an_unknown_parameter_is_not_repeated(port: int, verifier: FakeVerifier) -> None:
    token = verifier.issue().token
    answer = await ask(port, request(f"/verify?access_token={token}", bearer(token)))
    assert (answer.status, token in answer.body.decode()) == (400, False)


async def test_a_query_without_parameters_demands_nothing(
    port: int, verifier: FakeVerifier
) -> None:
    for target in ("/verify?", "/verify?&", "/verify?&&", "http://sidecar/verify?"):
        assert (await ask(port, request(target, bearer(verifier.issue().token)))).status == 200


async def test_an_upstream_receives_the_scopes_that_are_left_after_narrows(
    port: int, verifier: FakeVerifier
) -> None:
    issued = verifier.issue(scopes={"search:read", "tools:*", "mail:send", "tools:call:github"})
    sent = request("/verify", bearer(issued.token))

    async def told() -> tuple[str, str]:
        answer = await ask(port, sent)
        assert answer.status == 200
        return answer.headers["x-rescind-scopes"], answer.headers["x-rescind-scopes-removed"]

    assert await told() == ("mail:send search:read tools:* tools:call:github", "")
    narrow = verifier.narrow(f"token:{issued.token_id}", remove={"tools:call:*", "mail:send"})
    assert await told() == ("search:read", "mail:send tools:call:*")
    for scope, status in (("tools:read", 200), ("tools:call:x", 403), ("tools:*", 403)):
        answer = await ask(port, request(f"/verify?require={scope}", bearer(issued.token)))
        assert (scope, answer.status) == (scope, status)
    verifier.lift(narrow)
    assert await told() == ("mail:send search:read tools:* tools:call:github", "")


async def test_removed_scopes_are_shown_in_bounded_space_and_never_understated(
    port: int, verifier: FakeVerifier
) -> None:
    issued = verifier.issue(scopes={"*", "search:read"})
    many = {f"tools:call:{number:04}:%{'x' * 80}" for number in range(100)}
    verifier.narrow(f"token:{issued.token_id}", remove=many | {"search:read"})
    headers = (await ask(port, request("/verify", bearer(issued.token)))).headers
    removed = headers["x-rescind-scopes-removed"]
    assert len(removed) <= MAX_REPORTED_BYTES + 2
    *shown, last = removed.replace("%25", "%").split(" ")
    assert (shown, last) == (sorted(many | {"search:read"})[: len(shown)], "*")
    assert len(shown) > 10
    assert headers["x-rescind-scopes-removed-count"] == "101"
    sent = json.dumps({"token": issued.token}).encode()
    body = await ask(port, request("/v1/check", method="POST", body=sent))
    record = json.loads(body.body)["record"]
    assert record["scopes_removed"] == [*shown, "*"]
    assert (record["scopes_removed_count"], record["scopes"]) == (101, [])


async def test_cached_answers_are_bounded_by_number_and_bytes(
    port: int, verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_headers, "MAX_CACHED", 20)
    monkeypatch.setattr(record_headers, "CACHE_BYTES", 30_000)
    thin = [verifier.issue() for _ in range(30)]
    fat = [verifier.issue(scopes={f"{n}:{'s' * 120}" for n in range(60)}) for _ in range(30)]
    asked = plane(verifier)._verify
    for most, issued in ((20, thin), (4, fat), (20, thin)):
        for each in issued:
            headers = [(b"authorization", f"Bearer {each.token}".encode())]
            reply = asked(HttpRequest("GET", "/verify", b"", headers))
            assert isinstance(reply, HttpResponse)
            assert reply.status == 200
        sizes = [len(told) for told in asked._headers._cached.values()]
        assert 0 < len(sizes) <= most
        assert sum(sizes) == asked._headers._cached_bytes <= 30_000


async def test_without_a_lease_the_status_is_503_or_that_of_the_setting(
    port: int, verifier: FakeVerifier
) -> None:
    sent = request("/verify", bearer(verifier.issue().token))
    patient = plane(verifier, stale_status=401)
    with verifier.without_lease():
        answer = await ask(port, sent)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "www-authenticate" not in answer.headers
        async with served(patient) as (other, _):
            turned = await ask(other, sent)
    assert (turned.status, turned.headers["retry-after"]) == (401, "1")
    assert turned.headers["www-authenticate"] == 'Bearer realm="rescind"'
    assert turned.headers["x-rescind-reason"] == "no_lease"
    assert json.loads(turned.body)["status"] == 401


async def test_an_answer_is_as_fresh_as_the_call(port: int, verifier: FakeVerifier) -> None:
    issued = verifier.issue(scopes={"a"})
    sent = request("/verify", bearer(issued.token))
    assert (await ask(port, sent)).headers["x-rescind-as-of"] == "0"
    verifier.revoke("subject:agent:other")
    assert (await ask(port, sent)).headers["x-rescind-as-of"] == "1"
    verifier.revoke(f"token:{issued.token_id}")
    assert (await ask(port, sent)).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["X-Real-IP: 10.1.2.3"], 200),
        (["X-Real-IP: 192.0.2.1"], 401),
        (["X-Real-IP: 10.9.9.9, 192.0.2.1"], 401),
        (["X-Real-IP: 192.0.2.1, 10.1.2.3"], 200),
        (["X-Real-IP: 10.1.2.3", "X-Real-IP: 192.0.2.1"], 401),
        (["X-Forwarded-For: 10.1.2.3"], 401),
        ([], 401),
    ],
)
async def test_the_callers_address_is_the_one_that_the_nearest_proxy_reports(
    port: int, verifier: FakeVerifier, headers: list[str], status: int
) -> None:
    tied = verifier.issue(addresses=["10.0.0.0/8"])
    answer = await ask(port, request("/verify", bearer(tied.token), *headers))
    assert answer.status == status
    if status != 200:
        assert answer.headers["x-rescind-reason"] == "wrong_address"
