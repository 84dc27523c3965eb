"""Whatever a setting may be, the environment can say: it knows nothing but texts."""

from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from rescind_authority.settings import AuthoritySettings
from rescind_runtime import settings
from rescind_runtime.settings import RuntimeSettings, SettingsError
from rescind_sidecar.http.__main__ import HttpWorkerSettings
from rescind_sidecar.settings import SidecarSettings

NEEDED = {
    "RESCIND_SERVICE": "search",
    "RESCIND_CREDENTIAL": "x",
    "RESCIND_POSTGRES_DSN": "postgresql://localhost/db",
    "RESCIND_SOCKET": "/run/x.sock",
}
CLASSES: tuple[type[RuntimeSettings], ...] = (
    AuthoritySettings,
    SidecarSettings,
    HttpWorkerSettings,
)
DEFAULTS = [
    (each, name, field.default)
    for each in CLASSES
    for name, field in each.model_fields.items()
    if field.default is not PydanticUndefined and field.default is not None and name != "data"
]
LITERALS = [
    (each, name, choice)
    for each in CLASSES
    for name, field in each.model_fields.items()
    if get_origin(field.annotation) is Literal
    for choice in get_args(field.annotation)
]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in settings.environment():
        if variable.startswith("RESCIND_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    for variable, text in NEEDED.items():
        monkeypatch.setenv(variable, text)


def load(cls: type[RuntimeSettings], name: str, text: str, patch: pytest.MonkeyPatch) -> object:
    patch.setenv(f"RESCIND_{name.upper()}", text)
    return getattr(cls.load(), name)


@pytest.mark.parametrize(("cls", "name", "value"), [*DEFAULTS, *LITERALS])
def test_a_default_and_every_choice_can_be_written_in_the_environment(
    cls: type[RuntimeSettings], name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    assert load(cls, name, text, monkeypatch) == value


def test_a_literal_is_among_the_tested_settings() -> None:
    assert {(name, choice) for _, name, choice in LITERALS} >= {
        ("stale_status", 401),
        ("stale_status", 503),
    }


@pytest.mark.parametrize("text", ["200", "4O1", "401.0", "-401", "true", "40²", "0x191", "401 x"])
def test_another_stale_status_is_refused_and_the_choices_are_named(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"RESCIND_STALE_STATUS: .*401 or 503"):
        load(SidecarSettings, "stale_status", text, monkeypatch)


def test_a_worker_gets_the_settings_of_its_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_STALE_STATUS", "401")
    monkeypatch.setenv("RESCIND_AUDIENCES", "mail, https://mcp.example.com ,")
    monkeypatch.setenv("RESCIND_RESOURCE_METADATA", "https://mcp.example.com/.well-known/x")
    monkeypatch.setenv("RESCIND_INTROSPECT", "loopback")
    monkeypatch.setenv("RESCIND_INTROSPECT_EXP", "true")
    told = SidecarSettings.load().for_workers()
    assert (told["RESCIND_STALE_STATUS"], "RESCIND_CREDENTIAL" in told) == ("401", False)
    for variable, text in told.items():
        monkeypatch.setenv(variable, text)
    worker = HttpWorkerSettings.load()
    assert worker.resource_metadata == "https://mcp.example.com/.well-known/x"
    assert (worker.stale_status, worker.services) == (401, ("mail", "https://mcp.example.com"))
    assert (worker.introspect, worker.introspect_exp) == ("loopback", True)


def test_an_invalid_metadata_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"RESCIND_RESOURCE_METADATA: .*well-known"):
        load(SidecarSettings, "resource_metadata", 'https://a"b', monkeypatch)


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:80", ":80"])
def test_introspection_without_credentials_is_for_a_listener_on_loopback(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_HTTP", address)
    monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", "http")
    with pytest.raises(SettingsError, match=r"RESCIND_INTROSPECT: .*127\.0\.0\.1"):
        load(SidecarSettings, "introspect", "loopback", monkeypatch)
    assert load(SidecarSettings, "introspect", "client", monkeypatch)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:80", "localhost:80"])
def test_a_listener_on_loopback_may_introspect_for_all_that_reach_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_HTTP", address)
    assert load(SidecarSettings, "introspect", "loopback", monkeypatch)
