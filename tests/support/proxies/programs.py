"""The reverse proxies of deploy/proxies, each run from its shipped files with other ports."""

import http.client
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from tests.support.documents import ROOT
from tests.support.eventually import eventually_blocking
from tests.support.free_ports import free_port

SHIPPED = ROOT / "deploy" / "proxies"
LISTENS, SIDECAR, SIDECAR_GRPC, SERVICE = 8080, 9000, 9001, 8000
"""The ports of the shipped files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A reverse proxy: its files, its program, and the facts in which it differs from others."""

    name: str
    files: tuple[str, ...]
    """In deploy/proxies; they are copied into one folder, in which the program runs."""
    find: Callable[[], str | None]
    arguments: tuple[str, ...]
    removes_by_name: bool = False
    """A made-up header X-Rescind-OTHER, which no sidecar sends, reaches the service."""
    keeps_the_problem: bool = True
    """The sidecar's own body reaches the caller."""
    keeps_the_reason_of_a_503: bool = True
    without_sidecar: int = 503
    without_answer_s: float | None = 1.5
    """The time until a call is answered if the sidecar is frozen; None if it waits for longer."""


def _in_path(name: str) -> Callable[[], str | None]:
    # Debian installs servers into a folder that is not in the PATH of users.
    return lambda: shutil.which(name) or shutil.which(name, path="/usr/sbin")


def _beside_python(name: str) -> Callable[[], str | None]:
    """Return a search for a program that a wheel installed."""
    return lambda: shutil.which(name, path=str(Path(sys.executable).parent))


def _envoy() -> str | None:
    # The command `envoy` of the wheel would stay between Envoy and the signals of a test.
    package = find_spec("envoy")
    folder = package and package.origin and Path(package.origin).parent / "_bin"
    return shutil.which("envoy", path=folder) if folder else None


NGINX = Proxy(
    name="nginx",
    files=("nginx.conf", "nginx-http.conf", "nginx-server.conf", "nginx-verify.conf"),
    find=_in_path("nginx"),
    # As root, its workers would be another user, who cannot enter the folders of the tests.
    arguments=(
        *("-e", "stderr", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
        *("-g", "daemon off; user root;"),
    ),
    removes_by_name=True,
    keeps_the_problem=False,
)
CADDY = Proxy(
    name="caddy",
    files=("Caddyfile", "rescind.caddy"),
    find=_beside_python("caddy"),
    arguments=("run", "--config", "Caddyfile"),
)
TRAEFIK = Proxy(
    name="traefik",
    files=("traefik.yml", "traefik-dynamic.yml"),
    find=_beside_python("traefik"),
    arguments=("--configFile=traefik.yml",),
    without_sidecar=500,
    without_answer_s=None,
)
HAPROXY = Proxy(
    name="haproxy",
    files=("haproxy.cfg", "rescind.lua"),
    find=_in_path("haproxy"),
    arguments=("-db", "-f", "haproxy.cfg"),
)
ENVOY = Proxy(
    name="envoy",
    files=("envoy.yaml",),
    find=_envoy,
    arguments=("-c", "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"),
    keeps_the_reason_of_a_503=False,
)
ENVOY_GRPC = replace(
    ENVOY,
    name="envoy-grpc",
    files=("envoy-grpc.yaml",),
    arguments=("-c", "envoy-grpc.yaml", *ENVOY.arguments[2:]),
    keeps_the_reason_of_a_503=True,
)
PROXIES = (NGINX, CADDY, TRAEFIK, HAPROXY, ENVOY, ENVOY_GRPC)


@contextmanager
def running(proxy: Proxy, folder: Path, *, ports: Mapping[int, int]) -> Iterator[int]:
    """Run a proxy from its shipped files for the block; yield the port at which it listens.

    `ports` has the real port for each port of the files but its own.
    """
    files = {name: (SHIPPED / name).read_text(encoding="utf-8") for name in proxy.files}
    with running_files(proxy, folder, files=files, ports=ports) as port:
        yield port


@contextmanager
def running_files(
    proxy: Proxy, folder: Path, *, files: Mapping[str, str], ports: Mapping[int, int]
) -> Iterator[int]:
    """Run a proxy from files other than the shipped ones."""
    program = proxy.find()
    assert program is not None, f"{proxy.name} is not installed"
    port = free_port()
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(_with_ports(text, {**ports, LISTENS: port}), encoding="utf-8")
    arguments = [each.format(folder=folder) for each in proxy.arguments]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], cwd=folder, stdout=log, stderr=log)
        with process:
            try:
                eventually_blocking(lambda: _serves(port, process, folder / "log"))
                yield port
            finally:
                process.kill()  # nothing is in flight, and some drain for seconds


def _with_ports(text: str, ports: Mapping[int, int]) -> str:
    known = "|".join(map(str, ports))
    return re.sub(rf"\b({known})\b", lambda found: str(ports[int(found[1])]), text)


def _serves(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    """Return True if a proxy listens, and has its routes, which Traefik loads later."""
    assert process.poll() is None, log.read_text(errors="replace")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection), suppress(OSError):
        connection.request("GET", "/")
        return connection.getresponse().status != HTTPStatus.NOT_FOUND
    return False
