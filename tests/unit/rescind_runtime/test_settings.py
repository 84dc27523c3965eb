"""Settings come from the environment, then from DIR/env, and an error says where to look."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from rescind_runtime import data_dir, settings
from rescind_runtime.data_dir import DataDirectoryError
from rescind_runtime.settings import NatsUrls, RuntimeSettings, SettingsError


class Trial(RuntimeSettings):
    url: str = "none"
    term_s: float = 10.0
    master: SecretStr | None = None
    nats: NatsUrls = SecretStr("nats://127.0.0.1:4222")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in settings.environment():
        if variable.startswith("RESCIND_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    return tmp_path


def test_the_environment_wins_over_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.write_env(directory, {"RESCIND_URL": "from the file", "RESCIND_TERM_S": "3"})
    assert Trial.load().url == "from the file"
    monkeypatch.setenv("RESCIND_URL", "from the environment")
    found = Trial.load()
    assert (found.url, found.term_s, found.data) == ("from the environment", 3.0, directory)


def test_an_empty_variable_counts_as_unset(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.write_env(directory, {"RESCIND_URL": "from the file"})
    monkeypatch.setenv("RESCIND_URL", "")
    assert Trial.load().url == "from the file"


def test_a_secret_may_come_from_a_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "master").write_text("open sesame\n")
    monkeypatch.setenv("RESCIND_MASTER_FILE", str(directory / "master"))
    found = Trial.load()
    assert found.master is not None
    assert found.master.get_secret_value() == "open sesame"
    assert "sesame" not in repr(found)


def test_a_missing_secret_file_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_MASTER_FILE", str(directory / "nowhere"))
    with pytest.raises(SettingsError, match=r"RESCIND_MASTER_FILE: .*nowhere cannot be read"):
        Trial.load()


def test_an_error_names_the_variable_and_the_file_but_never_the_value(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_TERM_S", "hunter2")
    with pytest.raises(SettingsError, match=r"^RESCIND_TERM_S: .*valid number") as error:
        Trial.load()
    assert str(directory / "env") in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", ["plain", "two words", "quo'te", 'quo"te', "#x", "${HOME}", ""])
def test_a_written_file_is_read_back_unchanged(directory: Path, setting: str) -> None:
    path = data_dir.write_env(directory, {"RESCIND_URL": setting})
    assert path.stat().st_mode & 0o777 == 0o600
    assert data_dir.read_env(directory) == {"RESCIND_URL": setting}


def test_comments_and_empty_lines_are_passed_over(directory: Path) -> None:
    (directory / "env").write_text("# made by hand\n\nRESCIND_URL=x\n")
    assert data_dir.read_env(directory) == {"RESCIND_URL": "x"}


@pytest.mark.parametrize("line", ["RESCIND_URL", "RESCIND_URL=a b", "RESCIND_URL='open"])
def test_a_broken_line_is_named_without_its_value(directory: Path, line: str) -> None:
    (directory / "env").write_text(f"{line}\n")
    with pytest.raises(DataDirectoryError, match="the one that begins with 'RESCIND_URL'"):
        data_dir.read_env(directory)


def test_the_data_directory_follows_the_desktop_convention() -> None:
    assert data_dir.locate({"RESCIND_DATA": "/d", "XDG_DATA_HOME": "/x"}) == Path("/d")
    assert data_dir.locate({"XDG_DATA_HOME": "/x"}) == Path("/x/rescind")
    assert data_dir.locate({}) == Path("~/.local/share/rescind").expanduser()


@pytest.mark.parametrize(
    "urls", ["nats://a", "tls://u:p@a:1", "nats://a:1, nats://b:2,nats://[::1]"]
)
def test_nats_may_be_one_server_or_a_cluster(urls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_NATS", urls)
    found = Trial.load()
    assert found.nats.get_secret_value() == urls
    assert urls not in repr(found)


@pytest.mark.parametrize(
    "urls",
    ["hunter2", "http://hunter2", "nats://", "nats://hunter2:zz", "nats://a,", "nats://[x:y"],
)
def test_an_invalid_nats_url_is_reported_and_not_quoted(
    urls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_NATS", urls)
    with pytest.raises(SettingsError, match=r"RESCIND_NATS: .*expected nats://HOST") as refused:
        Trial.load()
    assert "hunter2" not in str(refused.value)
