"""What a proxy hears about the call that it holds (contract, Sidecar)."""

import json
from typing import cast

import pytest
from tests.support.http_exchange import ask, bearer, request, served
from tests.unit.rescind_sidecar.http.conftest import NOBODY

from rescind.client.verifier import Verifier
from rescind.testing import FakeVerifier
from rescind_sidecar.http.data_plane import DataPlane
from rescind_sidecar.http.relay import Relay


async def test_a_good_token_is_200_and_tells_who_it_is(port: int, verifier: FakeVerifier) -> None:
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
        "x-rescind-chain": "agent:root",
        "x-rescind-as-of": "1",
        "cache-control": "no-store",
        "content-length": "0",
        "connection": "",
    }


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PROPFIND", "BREW", "M-SEARCH"]
)
async def test_the_method_decides_nothing(port: int, verifier: FakeVerifier, method: str) -> None:
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
async def test_the_path_after_it_is_free(port: int, verifier: FakeVerifier, path: str) -> None:
    answer = await ask(port, request(path, bearer(verifier.issue().token)))
    assert answer.status == 200
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/verifyx", "/%76erify", "//verify", "/", "/v1/verify", "/VERIFY"]
)
async def test_nothing_else_is_a_verdict(port: int, verifier: FakeVerifier, path: str) -> None:
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
    assert answer.headers["cache-control"] == "no-store"


async def test_a_bad_token_is_invalid_and_says_why(port: int, verifier: FakeVerifier) -> None:
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


async def test_the_scheme_may_be_in_any_case_and_two_headers_are_none(
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
    for query in ("require=a&require=b", "require=a%20b", "require=b+a&x=1", "require="):
        assert (await ask(port, request(f"/verify?{query}", bearer(token)))).status == 200
    answer = await ask(port, request("/verify/x?require=c+a&require=b", bearer(token)))
    assert answer.status == 403
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="a b c"'
    )


async def test_a_challenge_cannot_be_broken_out_of(port: int, verifier: FakeVerifier) -> None:
    token = verifier.issue().token
    for query in (
        "require=a%22,%20Basic%20x",
        "require=a%0d%0aSet-Cookie:b",
        "require=%e2%98%83",
        "require=%00",
        "require=%ff%fe",
        "require=\\",
    ):
        answer = await ask(port, request(f"/verify?{query}", bearer(token)))
        assert answer.status == 403
        assert "set-cookie" not in answer.headers
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer error="insufficient_scope", scope="')
        assert challenge.count('"') == 4


async def test_what_a_subject_holds_stays_in_its_header(port: int, verifier: FakeVerifier) -> None:
    parent = verifier.issue(subject="agent:a b, c%")
    child = verifier.issue(subject='user:é"☃', scopes=["ok"], parent=parent)
    answer = await ask(port, request("/verify", bearer(child.token)))
    assert answer.status == 200
    assert answer.headers["x-rescind-chain"] == "agent:a%20b,%20c%25"
    assert answer.headers["x-rescind-subject"] == 'user:%C3%A9"%E2%98%83'


async def test_another_audience_can_be_named_but_not_by_the_path_that_a_caller_sends(
    port: int, verifier: FakeVerifier
) -> None:
    mail, both = verifier.issue(audience={"mail"}), verifier.issue(audience={"mail", "search"})
    assert (await ask(port, request("/verify", bearer(mail.token)))).status == 401
    assert (await ask(port, request("/verify?audience=mail", bearer(mail.token)))).status == 200
    below = await ask(port, request("/verify/x?audience=mail", bearer(mail.token)))
    assert (below.status, below.headers["x-rescind-reason"]) == (401, "wrong_audience")
    assert (await ask(port, request("/verify/x?audience=mail", bearer(both.token)))).status == 200
    narrowed = await ask(port, request("/verify/x?audience=mail", bearer(verifier.issue().token)))
    assert narrowed.status == 200
    search = verifier.issue(audience={"search"})
    narrowed = await ask(port, request("/verify/x?audience=mail", bearer(search.token)))
    assert (narrowed.status, narrowed.headers["x-rescind-reason"]) == (401, "wrong_audience")


@pytest.mark.parametrize(
    ("query", "status"),
    [("min_seq=0", 200), ("min_seq=1", 200), ("min_seq=2", 503), ("min_seq=1&min_seq=2", 503),
     ("min_seq=2&min_seq=0", 503), ("min_seq=18446744073709551615", 503)],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/verify", "/verify/below"])
async def test_an_answer_covers_the_min_seq_that_is_demanded(
    port: int, verifier: FakeVerifier, path: str, query: str, status: int
) -> None:
    verifier.revoke("subject:agent:other")
    answer = await ask(port, request(f"{path}?{query}", bearer(verifier.issue().token)))
    reason = answer.headers.get("x-rescind-reason")
    assert (answer.status, reason) == (status, None if status == 200 else "unavailable")


@pytest.mark.parametrize(
    "query",
    ["min_seq=", "min_seq=-1", "min_seq=x", "min_seq=%D9%A3", "min_seq=18446744073709551616",
     "min_seq=1&min_seq=y", "audience=a&audience=b", "&".join(f"a={n}" for n in range(200)),
     "min_seq=" + "9" * 10_000, "min_seq=" + "0" * 21 + "2"],
)  # fmt: skip
async def test_a_query_that_cannot_be_used_is_never_passed_over(
    port: int, verifier: FakeVerifier, query: str
) -> None:
    answer = await ask(port, request(f"/verify?{query}", bearer(verifier.issue().token)))
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_a_lease_it_is_503_or_what_the_setting_says(
    port: int, verifier: FakeVerifier
) -> None:
    sent = request("/verify", bearer(verifier.issue().token))
    patient = DataPlane(
        cast("Verifier", verifier), Relay(NOBODY), stale_status=401, address_header=None
    )
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
async def test_the_caller_s_address_is_what_the_nearest_proxy_says(
    port: int, verifier: FakeVerifier, headers: list[str], status: int
) -> None:
    tied = verifier.issue(addresses=["10.0.0.0/8"])
    answer = await ask(port, request("/verify", bearer(tied.token), *headers))
    assert answer.status == status
    if status != 200:
        assert answer.headers["x-rescind-reason"] == "wrong_address"
