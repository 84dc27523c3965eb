"""Where the commands look, and to whom an admin token is sent."""

from pathlib import Path

import pytest

from rescind.errors import RescindError, UnreachableError
from rescind_cli import settings
from rescind_runtime import data_dir


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a data directory that `rescind up` left, in an environment without settings."""
    for variable in (
        "RESCIND_URL",
        "RESCIND_ADMIN_TOKEN",
        "RESCIND_ADMIN_TOKEN_FILE",
        "RESCIND_SOCKET",
        "RESCIND_SERVICE",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    data_dir.write_private(tmp_path / "admin-token", "kept-token\n")
    data_dir.write_env(
        tmp_path,
        {
            "RESCIND_URL": "http://127.0.0.1:1",
            "RESCIND_ADMIN_TOKEN_FILE": str(tmp_path / "admin-token"),
            "RESCIND_SOCKET": "/run/kept.sock",
        },
    )
    return tmp_path


@pytest.mark.usefixtures("kept")
def test_a_command_may_ask_each_of_several_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_URL", "http://127.0.0.1:2, http://127.0.0.1:3")
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", "other-token")
    assert settings.authority(url=None, data=None).url == "http://127.0.0.1:2, http://127.0.0.1:3"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("order", [1, -1])
def test_the_stored_token_is_not_used_if_one_of_several_urls_is_another_authority(
    monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    named = ["http://127.0.0.1:1", "https://elsewhere.example"][::order]
    monkeypatch.setenv("RESCIND_URL", ",".join(named))
    with pytest.raises(RescindError, match="no admin token"):
        settings.authority(url=None, data=None)


@pytest.mark.usefixtures("kept")
def test_the_system_that_up_started_is_found() -> None:
    found = settings.authority(url=None, data=None)
    assert (found.url, found.token.reveal()) == ("http://127.0.0.1:1", "kept-token")
    assert settings.sidecar(path=None, data=None) == Path("/run/kept.sock")


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("by_flag", [True, False])
def test_the_stored_token_is_never_sent_to_another_authority(
    monkeypatch: pytest.MonkeyPatch, by_flag: bool
) -> None:
    elsewhere = "https://elsewhere.example"
    monkeypatch.setenv("RESCIND_URL", "" if by_flag else elsewhere)
    with pytest.raises(RescindError, match="no admin token for https://elsewhere"):
        settings.authority(url=elsewhere if by_flag else None, data=None)


@pytest.mark.usefixtures("kept")
def test_the_environment_takes_precedence_over_stored_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESCIND_URL", "https://mine.example")
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", "mine")
    found = settings.authority(url=None, data=None)
    assert (found.url, found.token.reveal()) == ("https://mine.example", "mine")


def test_an_explicit_directory_takes_precedence_over_the_environment(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_URL", "https://mine.example")
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", "mine")
    found = settings.authority(url=None, data=kept)
    assert (found.url, found.token.reveal()) == ("http://127.0.0.1:1", "kept-token")


def test_if_nothing_runs_the_error_states_what_to_start(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_DATA", str(kept / "empty"))
    with pytest.raises(UnreachableError, match="rescind up"):
        settings.authority(url=None, data=None)
    with pytest.raises(UnreachableError, match="rescind up"):
        settings.sidecar(path=None, data=None)


def test_the_error_for_a_lost_token_file_states_how_to_recover(kept: Path) -> None:
    (kept / "admin-token").unlink()
    with pytest.raises(RescindError, match="rescind recover admin"):
        settings.authority(url=None, data=None)
