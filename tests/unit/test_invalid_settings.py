"""A user's mistake in a setting is one plain line, whichever setting it is: never a defect of ours.

The settings are taken from the classes, so that a new one that names a place is tried as well.
"""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.support import logs

from rescind.client.tls import LINKS
from rescind_authority.keys import secret_files
from rescind_authority.operator import bootstrap
from rescind_authority.settings import AuthoritySettings
from rescind_authority.wiring.authority import Authority
from rescind_runtime import supervise
from rescind_runtime.settings import RuntimeSettings
from rescind_runtime.supervise import Stop
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.wiring.sidecar import Sidecar

SECRET = "hunter2"
URLS = {
    "postgres_dsn": "postgresql",
    "nats_url": "nats",
    "redis_url": "redis",
    "url": "http",
}
BAD_URLS = [
    "nonsense",
    "::",
    "{scheme}://[::1/0",
    "{scheme}://127.0.0.1:notaport/0",
    "{scheme}://127.0.0.1:99999999/0",
    "{scheme}://u:" + SECRET + "/w@127.0.0.1/0",
    "{scheme}://u:" + SECRET + "@:x/0",
    "gopher://u:" + SECRET + "@127.0.0.1/0",
    "{scheme}://u:" + SECRET + "@" + "h" * 300 + "/0",
    "{scheme}://\udcff/0",
]
BAD_ADDRESSES = ["nonsense", "h:x", "[::1", ":", "127.0.0.1:99999", "192.0.2.1:0", "a" * 300 + ":0"]
BAD_PATHS = ["{tmp}", "{tmp}/file/x", "/proc/nowhere/x", "{tmp}/" + "a" * 300, "/", "{tmp}/file"]


def places() -> Iterator[tuple[type[RuntimeSettings], str, str]]:
    """Name each setting of each process that is a URL, an address or a path, with wrong values."""
    for settings in (AuthoritySettings, SidecarSettings):
        for name, field in settings.model_fields.items():
            kinds = {field.annotation, *get_args(field.annotation)}
            if name in URLS:
                values = [each.format(scheme=URLS[name]) for each in BAD_URLS]
            elif name == "http":
                values = BAD_ADDRESSES
            elif name == "grpc":
                values = [
                    *BAD_ADDRESSES,
                    "unix:x",
                    "unix:",
                    "unix:/" + "a" * 100,
                    "unix:/no/where/x",
                ]
            elif Path in kinds and name.partition("_")[0] in LINKS:
                values = [*BAD_PATHS[:2], "{tmp}/file"]  # they are read by one function
            elif Path in kinds and name != "data":
                values = BAD_PATHS
            else:
                continue
            for value in values:
                yield settings, name, value


def test_each_setting_that_holds_a_url_or_dsn_is_tested() -> None:
    """A new one that ends in url or dsn belongs into URLS."""
    for settings in (AuthoritySettings, SidecarSettings):
        named = {name for name in settings.model_fields if name.endswith(("url", "dsn"))}
        assert named <= URLS.keys()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have an environment with what a process needs, and forget how it logs afterwards."""
    (tmp_path / "file").write_text("no key\n")
    for name, value in {
        "DATA": str(tmp_path),
        "POSTGRES_DSN": "postgresql://127.0.0.1:1/none",
        "NATS_URL": "nats://127.0.0.1:1",
        "HTTP": "127.0.0.1:0",
        "SERVICE": "search",
        "SOCKET": str(tmp_path / "search.sock"),
        "CREDENTIAL": "none",
        "HTTP_WORKERS": "0",
        "LOG": "console:error",
    }.items():
        monkeypatch.setenv(f"RESCIND_{name}", value)
    installed = AuthoritySettings.load()
    bootstrap.make_keys(installed)
    secret_files.create_edge_key(installed.edge_keys_path)
    with logs.restored():
        yield tmp_path


# What is cancelled while it starts leaves its sockets to the end of the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        pytest.param(*each, id=f"{each[0].__name__}-{each[1]}-{number}")
        for number, each in enumerate(places())
    ],
)
def test_a_wrong_setting_is_never_reported_as_a_defect(
    *,
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    settings: type[RuntimeSettings],
    name: str,
    value: str,
) -> None:
    text = value.replace("{tmp}", str(alone))
    monkeypatch.setenv(f"RESCIND_{name.upper()}", text)
    part = Authority if settings is AuthoritySettings else Sidecar

    cut: list[bool] = []

    async def main(stop: Stop) -> None:
        stop.request()
        # What is only away is waited for, and so is the end of that.
        try:
            async with asyncio.timeout(0.5):
                loaded: Any = settings.load()  # of the class that the part takes
                await part(loaded).run(stop)
        except TimeoutError:
            cut.append(True)

    code = supervise.exit_code(main, name="trial")
    if cut:
        gc.collect()  # its sockets are not to be found by another test
    said = "".join(capfd.readouterr())
    assert code != supervise.EXIT_CRASHED, said
    assert SECRET not in said
    assert (alone / "file").read_text() == "no key\n", "no other file is touched"
