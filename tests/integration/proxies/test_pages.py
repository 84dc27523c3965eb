"""What the pages of the proxies show: the blocks run as they are shown, and refuse as they say."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.documents import DOCS
from tests.support.proxies import programs
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import (
    CADDY,
    ENVOY,
    ENVOY_GRPC,
    HAPROXY,
    NGINX,
    PROXIES,
    SHIPPED,
    TRAEFIK,
    Proxy,
)
from tests.support.proxies.site import Site

Files = dict[str, str]

_BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TEMPORARY = "".join(
    f"    {kind}_temp_path {kind};\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def page(proxy: Proxy) -> Path:
    """Return the page of a proxy."""
    return DOCS / "integrations" / f"{proxy.name}.md"


def blocks(proxy: Proxy) -> list[str]:
    """Return the blocks of a proxy's page."""
    return _BLOCK.findall(page(proxy).read_text(encoding="utf-8"))


def _nginx(block: str) -> Files:
    return {"nginx.conf": f"pid nginx.pid;\nevents {{}}\nhttp {{\n{_TEMPORARY}{block}}}\n"}


def _caddy(block: str) -> Files:
    return {"Caddyfile": f"{{\n\tadmin off\n\tpersist_config off\n}}\n{block}"}


def _traefik(static: str, dynamic: str) -> Files:
    quiet = "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
    return {"traefik.yml": static + quiet, "traefik-dynamic.yml": dynamic}


def _haproxy(block: str) -> Files:
    return {"haproxy.cfg": block}


_WHOLE: dict[str, Callable[..., Files]] = {
    NGINX.name: _nginx,
    CADDY.name: _caddy,
    TRAEFIK.name: _traefik,
    HAPROXY.name: _haproxy,
}


@pytest.mark.parametrize("proxy", [NGINX, CADDY, TRAEFIK, HAPROXY], indirect=True)
def test_a_page_shows_what_runs_and_refuses(
    behind: Site, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shipped = {name: (SHIPPED / name).read_text(encoding="utf-8") for name in proxy.files}
    files = shipped | _WHOLE[proxy.name](*blocks(proxy))
    folder = tmp_path_factory.mktemp("page") / proxy.name
    with programs.running_files(proxy, folder, files=files, ports=behind.ports) as port:
        assert_protects(Caller(port, behind.service), behind)


def assert_protects(caller: Caller, behind: Site) -> None:
    """Check what every page promises, in short: the other modules check it at length."""
    good = behind.link.issue("agent:x", scopes=("search:read",))
    spellings = ("X-Rescind-Chain", "X_Rescind_Chain", "X.Rescind.Chain")
    answer = caller.call("/p", good, headers=[(name, "made-up") for name in spellings])
    assert answer.reached is not None
    assert answer.reached.like("x-rescind")["x-rescind-subject"] == ["agent:x"]
    assert answer.reached.like("x-rescind").get("x-rescind-chain") in (None, [""])
    for token, status, reason in (
        (None, 401, "missing"),
        (behind.link.issue(scopes=()), 403, "insufficient_scope"),
        (behind.link.issue(audience=("mail",)), 401, "wrong_audience"),
    ):
        answer = caller.call("/p?audience=mail", token)
        assert (answer.status, answer.header("x-rescind-reason")) == (status, reason)
        assert (answer.header("www-authenticate") or "").startswith("Bearer ")
        assert answer.reached is None


@pytest.mark.parametrize(
    ("proxy", "block"),
    [
        *((ENVOY, block) for block in blocks(ENVOY)),
        *((ENVOY_GRPC, block) for block in blocks(ENVOY_GRPC) if "envoy.filters" in block),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_what_a_page_of_envoy_shows_is_part_of_its_shipped_file(proxy: Proxy, block: str) -> None:
    shipped = (SHIPPED / proxy.files[0]).read_text(encoding="utf-8")
    depths = range(0, 21, 2)
    assert any(textwrap.indent(block, " " * depth) in shipped for depth in depths)


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
def test_a_page_and_its_files_name_the_release_that_the_tests_need(proxy: Proxy) -> None:
    """What is tried is written at the top of each file that a user starts with."""
    tried = re.search(r"Tried with \w+ [\d.]+\d", page(proxy).read_text(encoding="utf-8"))
    assert tried is not None
    assert tried[0] in (SHIPPED / proxy.files[0]).read_text(encoding="utf-8").partition("\n")[0]
