"""The shortest configurations, which are written first: the caller chooses nothing there either.

Such a configuration may lose a reason or a header. It never lets a call through that the sidecar,
asked as the operator meant it, refuses.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.support import data_plane
from tests.support.data_plane import DataPlane
from tests.support.free_ports import free_port
from tests.support.proxies import programs, site
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import CADDY, ENVOY, NGINX, TRAEFIK, Proxy
from tests.support.proxies.site import Site
from tests.support.sidecar import LedgerInMemory

READ = ("search:read",)

_NGINX = """
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:8080;
        location / {{
            auth_request /_rescind;
            auth_request_set $subject $upstream_http_x_rescind_subject;
            proxy_set_header X-Rescind-Subject $subject;
            proxy_pass http://127.0.0.1:8000;
        }}
        location = /_rescind {{
            internal;
            {body}
            proxy_pass http://127.0.0.1:9000/verify{query};
        }}
    }}
}}
"""
_WITHOUT_BODY = 'proxy_pass_request_body off; proxy_set_header Content-Length "";'
_FORGOTTEN = ""  # the length of the body is passed on, and the body is not

_CADDY = """
{{
    admin off
    auto_https off
    persist_config off
}}
http://:8080 {{
    forward_auth 127.0.0.1:9000 {{
        uri /verify{query}
        copy_headers X-Rescind-Subject
    }}
    reverse_proxy 127.0.0.1:8000
}}
"""

_TRAEFIK = """
entryPoints: {web: {address: "127.0.0.1:8080"}}
providers: {file: {filename: traefik-dynamic.yml, watch: false}}
global: {checkNewVersion: false, sendAnonymousUsage: false}
"""
_TRAEFIK_DYNAMIC = """
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", middlewares: [rescind], service: service}}}}
  middlewares:
    rescind:
      forwardAuth:
        address: "http://127.0.0.1:9000/verify{query}"
        authResponseHeaders: [X-Rescind-Subject]
  services: {{service: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:8000"}}]}}}}}}
"""

_ENVOY = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: service}}]}
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              http_service:
                server_uri: {uri: "http://127.0.0.1:9000", cluster: rescind, timeout: 1s}
                path_prefix: /verify
                authorization_response:
                  allowed_upstream_headers: {patterns: [{exact: x-rescind-subject}]}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: rescind
    load_assignment: {cluster_name: rescind, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}}]}]}
  - name: service
    load_assignment: {cluster_name: service, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8000}}}}]}]}
"""  # noqa: E501 one line each, as in the manual

_FIRST: dict[str, tuple[Proxy, dict[str, str]]] = {
    "nginx": (NGINX, {"nginx.conf": _NGINX.format(body=_WITHOUT_BODY, query="")}),
    "nginx-length": (NGINX, {"nginx.conf": _NGINX.format(body=_FORGOTTEN, query="")}),
    # `$args` is that of the subrequest, and empty. `$request_uri` is the caller's.
    "nginx-args": (NGINX, {"nginx.conf": _NGINX.format(body=_WITHOUT_BODY, query="$is_args$args")}),
    "nginx-uri": (NGINX, {"nginx.conf": _NGINX.format(body=_WITHOUT_BODY, query="$request_uri")}),
    "caddy": (CADDY, {"Caddyfile": _CADDY.format(query="")}),
    "caddy-mark": (CADDY, {"Caddyfile": _CADDY.format(query="?")}),
    "traefik": (
        TRAEFIK,
        {"traefik.yml": _TRAEFIK, "traefik-dynamic.yml": _TRAEFIK_DYNAMIC.format(query="")},
    ),
    "envoy": (ENVOY, {"envoy.yaml": _ENVOY}),
}
_APPEND_THE_QUERY = {"caddy"}
"""The configurations that append the caller's query to /verify."""

_SCOPED = "?require=search:read"
_WITH_SCOPE: dict[str, tuple[Proxy, dict[str, str]]] = {
    "nginx": (NGINX, {"nginx.conf": _NGINX.format(body=_WITHOUT_BODY, query=_SCOPED)}),
    "nginx-args": (
        NGINX,
        {"nginx.conf": _NGINX.format(body=_WITHOUT_BODY, query=f"{_SCOPED}&$args")},
    ),
    "caddy": (CADDY, {"Caddyfile": _CADDY.format(query=_SCOPED)}),
    "caddy-query": (CADDY, {"Caddyfile": _CADDY.format(query=f"{_SCOPED}&{{query}}")}),
    "traefik": (
        TRAEFIK,
        {"traefik.yml": _TRAEFIK, "traefik-dynamic.yml": _TRAEFIK_DYNAMIC.format(query=_SCOPED)},
    ),
}

Start = Callable[[str, tuple[Proxy, dict[str, str]]], Caller]


@pytest.fixture(scope="module")
def start(behind: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a configuration at its first use, and end all of them with the module."""
    folder = tmp_path_factory.mktemp("first")
    with ExitStack() as stack:
        started: dict[str, int] = {}

        def start(name: str, configuration: tuple[Proxy, dict[str, str]]) -> Caller:
            proxy, files = configuration
            if proxy.find() is None:
                pytest.skip(f"{proxy.name} is not installed: see .ci/run")
            if name not in started:
                running = programs.running_files(
                    proxy, folder / name, files=files, ports=behind.ports
                )
                started[name] = stack.enter_context(running)
            return Caller(started[name], behind.service)

        yield start


@pytest.fixture(params=_FIRST)
def first(request: pytest.FixtureRequest, start: Start) -> Caller:
    """Return a caller of each configuration without a query of its own."""
    return start(request.param, _FIRST[request.param])


@pytest.fixture(params=_WITH_SCOPE)
def scoped(request: pytest.FixtureRequest, start: Start) -> Caller:
    """Return a caller of each configuration that requires `search:read`."""
    return start(f"scoped-{request.param}", _WITH_SCOPE[request.param])


def test_good_tokens_pass_and_others_do_not(first: Caller, behind: Site) -> None:
    good = behind.link.issue("agent:x", scopes=READ)
    with first.connected() as connection:
        for token in (good, None, good, LedgerInMemory().issue(), "x", good):
            answer = first.send(connection, "/p", token)
            assert answer.status == (200 if token == good else 401)
            assert (answer.reached is not None) == (token == good)
            if answer.reached is not None:
                assert answer.reached.all("x-rescind-subject") == ["agent:x"]


@pytest.mark.parametrize("other", ["mail", "search&audience=mail", "%6dail"])
def test_the_caller_never_chooses_the_audience(first: Caller, behind: Site, other: str) -> None:
    elsewhere = behind.link.issue(scopes=READ, audience=("mail",))
    for query in ("", f"?audience={other}", f"?%61udience={other}", f"?x=1;audience={other}"):
        answer = first.call(f"/p{query}", elsewhere)
        assert answer.reached is None
        assert answer.status in {400, 401, 500}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def several(behind: Site) -> AsyncIterator[DataPlane]:
    """Serve HTTP for the same sidecar, which answers for another service too."""
    plane = data_plane.running(behind.sidecar, RESCIND_AUDIENCES="mail")
    async with site.held(plane) as running:
        yield running


@pytest.mark.parametrize("name", ["caddy", "nginx-uri", "traefik", "envoy"])
def test_the_caller_does_not_choose_among_the_audiences_of_a_sidecar(
    name: str, behind: Site, several: DataPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proxy, files = _FIRST[name]
    if proxy.find() is None:
        pytest.skip(f"{proxy.name} is not installed: see .ci/run")
    folder = tmp_path_factory.mktemp("several") / name
    ports = {**behind.ports, programs.SIDECAR: several.port}
    elsewhere = behind.link.issue(scopes=READ, audience=("mail",))
    own = behind.link.issue(scopes=READ, audience=("search",))
    with programs.running_files(proxy, folder, files=files, ports=ports) as port:
        caller = Caller(port, behind.service)
        assert caller.call("/p", own).status == 200
        for query in (
            "audience=mail",
            "audience=mail&",
            "&audience=mail",
            "audience=%6dail",
            "%61udience=mail",
            "audience=mail&audience=mail",
            "audience=mail&require=search:read",
            "audience=mail&min_seq=0",
            "audience=mail#x",
            "audience=mail?",
            "?audience=mail",
        ):
            answer = caller.call(f"/p?{query}", elsewhere)
            assert (query, answer.reached) == (query, None)
            assert answer.status in {400, 401, 500}


@pytest.mark.parametrize(
    "query",
    ["", "?require=", "?require=mail:send", "?scope=mail:send", "?require", "?x=1", "?min_seq=0"],
)
def test_the_caller_never_takes_a_required_scope_away(
    scoped: Caller, behind: Site, query: str
) -> None:
    poor = behind.link.issue(scopes=("mail:send",))
    answer = scoped.call(f"/p{query}", poor)
    assert answer.reached is None
    assert answer.status in {400, 403, 500}
    assert scoped.call("/p", behind.link.issue(scopes=READ)).status == 200


@pytest.mark.parametrize("name", _FIRST)
def test_a_query_of_the_application_is_ignored_or_refused_at_once(
    name: str, start: Start, behind: Site
) -> None:
    """The operator sees at the first call of the application that the query must not be sent."""
    answer = start(name, _FIRST[name]).call("/p?page=2", behind.link.issue(scopes=READ))
    assert (answer.reached is None) == (name in _APPEND_THE_QUERY)
    assert (answer.status == 200) == (name not in _APPEND_THE_QUERY)


@pytest.mark.parametrize("name", ["nginx", "nginx-length"])
@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_a_request_body_never_makes_nginx_hang(
    name: str, method: str, start: Start, behind: Site
) -> None:
    caller = start(name, _FIRST[name])
    good = behind.link.issue("agent:x", scopes=READ)
    body = b"b" * 20_000 if method in {"POST", "PUT"} else b""
    with caller.connected() as connection:
        for _ in range(5):
            answer = caller.send(connection, "/", good, method=method, body=body)
            assert answer.status == 200
    assert caller.call("/", method=method, body=body).status == 401


@pytest.mark.parametrize("name", ["nginx", "caddy", "traefik", "envoy"])
def test_a_token_that_cannot_be_looked_up_is_refused(name: str, start: Start, behind: Site) -> None:
    caller = replace(start(name, _FIRST[name]), faults=True)
    good = behind.link.issue(scopes=READ)
    behind.link.reachable = False
    try:
        answer = caller.call("/p", good)
    finally:
        behind.link.reachable = True
    assert answer.reached is None
    # nginx and Envoy have a word of their own for an authoriser that answers 503.
    assert answer.status == {"nginx": 500, "caddy": 503, "traefik": 503, "envoy": 403}[name]


@pytest.mark.parametrize("name", ["nginx", "caddy", "traefik", "envoy"])
def test_without_a_sidecar_no_call_goes_through(
    name: str, behind: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proxy, files = _FIRST[name]
    if proxy.find() is None:
        pytest.skip(f"{proxy.name} is not installed: see .ci/run")
    folder = tmp_path_factory.mktemp("first-gone") / name
    ports = {**behind.ports, programs.SIDECAR: free_port()}
    with programs.running_files(proxy, folder, files=files, ports=ports) as port:
        caller = Caller(port, behind.service, faults=True)
        answer = caller.call("/p", behind.link.issue(scopes=READ))
        assert answer.reached is None
        assert answer.status == {"nginx": 500, "caddy": 502, "traefik": 500, "envoy": 403}[name]
