"""A real nginx with `auth_request`, and requests as Envoy and Traefik send them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support import data_plane
from tests.support.data_plane import DataPlane
from tests.support.free_ports import free_port
from tests.support.http_exchange import ask, bearer, connect_raw, request, served
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

# nginx passes the challenge of a 401 on by itself. `return 200` in the protected location would run
# before auth_request, and let every caller through.
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream sidecar {{ server 127.0.0.1:{sidecar}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            auth_request /_rescind;
            auth_request_set $subject $upstream_http_x_rescind_subject;
            proxy_set_header X-Subject $subject;
            proxy_pass http://127.0.0.1:{service};
        }}
        location = /_rescind {{
            internal;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {body}
            proxy_pass http://sidecar/verify?require=tools:call;
        }}
    }}
}}
"""
WITHOUT_BODY = 'proxy_pass_request_body off; proxy_set_header Content-Length "";'
FORGOTTEN = ""  # the length of the body is passed on, and the body is not


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


@pytest.fixture
async def plane(sidecar: RunningSidecar) -> AsyncIterator[DataPlane]:
    async with data_plane.running(sidecar) as plane:
        yield plane


@pytest.fixture(params=[WITHOUT_BODY, FORGOTTEN], ids=["as advised", "length passed on"])
async def nginx(
    request: pytest.FixtureRequest, plane: DataPlane, tmp_path: Path
) -> AsyncIterator[int]:
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")

    def service(asked: HttpRequest) -> HttpResponse:
        headers = {name.lower(): value for name, value in asked.headers}
        return HttpResponse(200, NO_STORE, headers.get(b"x-subject", b"nobody"))

    port = free_port()
    async with served(service) as (behind, _):
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=tmp_path, sidecar=plane.port, port=port, service=behind, body=request.param
            )
        )
        process = await asyncio.create_subprocess_exec(NGINX, "-p", tmp_path, "-c", configuration)
        try:
            await listens(port, process)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(10):
        while True:
            assert process.returncode is None, "nginx refused its configuration"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def test_nginx_forwards_exactly_the_requests_that_the_sidecar_allows(
    nginx: int, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    good, poor = link.issue("agent:x"), link.issue(scopes=())
    async with connect_raw(nginx) as line:
        for _ in range(3):
            answer = await line.ask(request("/any/path?x=1", bearer(good)))
            assert (answer.status, answer.body) == (200, b"agent:x")
        assert (await line.ask(request("/", bearer(poor)))).status == 403
        missing = await line.ask(request("/"))
        assert missing.status == 401
        assert missing.headers["www-authenticate"] == 'Bearer realm="rescind"'
        sidecar.push(link.revoke("subject:agent:x"))
        revoked = await line.ask(request("/any/path", bearer(good)))
        assert revoked.status == 401
        assert revoked.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
async def test_a_request_body_never_makes_nginx_hang(
    nginx: int, link: LedgerInMemory, method: str
) -> None:
    good = link.issue("agent:x")
    body = b"b" * 20_000 if method in {"POST", "PUT"} else b""
    async with connect_raw(nginx) as line:
        for _ in range(5):
            sent = request("/", bearer(good), method=method, body=body)
            assert (await line.ask(sent)).status == 200
    assert (await ask(nginx, request("/", method=method, body=body))).status == 401


async def test_callers_never_get_each_others_answers(nginx: int, link: LedgerInMemory) -> None:
    names = [f"agent:{number}" for number in range(8)]
    issued = {name: link.issue(name) for name in names}

    async def call(name: str) -> None:
        for turn in range(25):
            body = b"GET /verify HTTP/1.1\r\n\r\n" * (turn % 3)  # a body that looks like a call
            sent = request(f"/{turn}", bearer(issued[name]), method="POST", body=body)
            assert (await ask(nginx, sent)).body == name.encode()

    async def anonymous_calls() -> None:
        for _ in range(25):
            assert (await ask(nginx, request("/", method="POST", body=b"x" * 100))).status == 401

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(call(name))
            tasks.create_task(anonymous_calls())


async def test_nginx_fails_closed_without_a_sidecar(
    nginx: int, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    sidecar.server.stop()
    answer = await ask(nginx, request("/", bearer(link.issue())))
    assert answer.status == 500  # nginx's word for an authoriser that says 503


async def test_a_request_as_envoy_sends_it_is_answered(
    plane: DataPlane, link: LedgerInMemory
) -> None:
    # ext_authz over HTTP: the caller's method and path after the prefix, content-length: 0.
    for method in ("GET", "POST", "OPTIONS", "PATCH"):
        sent = (
            f"{method} /verify/api/v1/items?page=2&require=tools:call HTTP/1.1\r\n"
            "host: search.internal\r\ncontent-length: 0\r\n"
            f"authorization: Bearer {link.issue('agent:x')}\r\n"
            "x-envoy-internal: true\r\nx-forwarded-for: 10.0.0.1\r\n"
            "x-envoy-expected-rq-timeout-ms: 200\r\n\r\n"
        ).encode()
        answer = await ask(plane.port, sent)
        assert (answer.status, answer.headers["x-rescind-subject"]) == (200, "agent:x")
        assert answer.headers["connection"] == "keep-alive"


async def test_a_request_as_traefik_sends_it_is_answered(
    plane: DataPlane, link: LedgerInMemory
) -> None:
    # forwardAuth: a GET to the address as configured; the call is told in X-Forwarded-*.
    sent = request(
        "/verify?require=tools:call",
        f"Authorization: Bearer {link.issue('agent:x')}",
        "X-Forwarded-Method: DELETE",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: search.example",
        "X-Forwarded-Uri: /items/7?require=nothing",
        "Accept-Encoding: gzip",
    )
    answer = await ask(plane.port, sent)
    assert (answer.status, answer.headers["x-rescind-subject"]) == (200, "agent:x")
