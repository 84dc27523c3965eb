"""Whose word on the caller's address is taken."""

import pytest

from rescind_runtime.net.proxies import Forwarded, Proxies

PROXIES = Proxies.parse("10.0.0.1, 10.1.0.0/16,2001:db8::/64")


@pytest.mark.parametrize(
    ("lines", "caller"),
    [
        ((), None),
        (("",), None),
        (("192.0.2.7",), "192.0.2.7"),
        (("1.1.1.1, 192.0.2.7",), "192.0.2.7"),  # what stands before it, the caller wrote
        (("1.1.1.1, 192.0.2.7, 10.0.0.1",), "192.0.2.7"),
        (("1.1.1.1, 192.0.2.7,10.1.2.3 , 2001:db8::5",), "192.0.2.7"),
        (("192.0.2.7, 1.1.1.1", "10.0.0.1"), "1.1.1.1"),
        (("10.0.0.1",), None),  # a proxy called itself: from where is not told
        (("192.0.2.7, unknown",), None),
        (("192.0.2.7, 192.0.2.8:80",), None),
        (("192.0.2.7, ",), None),
        (("::ffff:192.0.2.7",), "192.0.2.7"),
        (("192.0.2.7, ::ffff:10.0.0.1",), "192.0.2.7"),
        (("2001:db8:1::7",), "2001:db8:1::7"),
        (('192.0.2.7, "10.0.0.1"',), None),
        (("192.0.2.7, 010.0.0.1",), None),
    ],
)
async def test_the_caller_is_the_nearest_address_that_is_not_a_trusted_proxy(
    lines: tuple[str, ...], caller: str | None
) -> None:
    headers = [(b"X-Forwarded-For", line.encode()) for line in lines]
    assert PROXIES.caller([(b"host", b"a"), *headers]) == caller


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.2", "10.2.0.1", "", "testclient"])
async def test_forwarded_headers_of_other_peers_are_ignored(peer: str) -> None:
    told = b"192.0.2.7"
    names = (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
    headers = [*((name, told) for name in names), (b"forwarded", b"for=192.0.2.7")]
    for proxies in (PROXIES, Proxies()):
        seen = await through(proxies, {"client": (peer, 9), "headers": headers, "scheme": "http"})
        assert (seen["client"], seen["scheme"]) == ((peer, 9), "http")


async def test_behind_a_proxy_the_address_is_the_reported_one_or_unknown() -> None:
    for peer in ("10.0.0.1", "::ffff:10.0.0.1", "2001:db8::9"):
        told: dict[str, object] = {
            "client": (peer, 9),
            "headers": [(b"x-forwarded-for", b"192.0.2.7")],
        }
        assert (await through(PROXIES, told))["client"] == ("192.0.2.7", 0)
        silent = await through(PROXIES, {"client": (peer, 9), "headers": []})
        assert silent["client"] is None


@pytest.mark.parametrize(
    "text", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1;::1", "*"]
)
async def test_an_invalid_list_of_addresses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected addresses or networks"):
        Proxies.parse(text)


async def through(proxies: Proxies, scope: dict[str, object]) -> dict[str, object]:
    seen: dict[str, object] = {}

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        seen.update(scope)

    await Forwarded(app, proxies)({"type": "http", **scope}, None, None)
    return seen
