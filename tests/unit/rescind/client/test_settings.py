"""Where a program finds the system without arguments, and what it is told when there is none."""

from pathlib import Path

import pytest

from rescind import RescindError, Verifier
from rescind.client import Admin, AsyncAdmin, AsyncBearer, Bearer, data_dir, settings
from rescind_runtime.data_dir import write_env, write_private

HERE, ELSEWHERE = "http://127.0.0.1:1", "https://elsewhere.example"
VARIABLES = (
    "RESCIND_URL",
    "RESCIND_ADMIN_TOKEN",
    "RESCIND_ADMIN_TOKEN_FILE",
    "RESCIND_TOKEN",
    "RESCIND_SOCKET",
    "RESCIND_SERVICE",
    "RESCIND_AUTHORITY_CA_FILE",
    "RESCIND_ALLOW_PLAINTEXT",
)


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a data directory that has no `env`, in an environment without other settings."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def kept(empty: Path) -> Path:
    """Write what `rescind up` writes."""
    write_private(empty / "admin-token", "kept-token\n")
    found = {
        "RESCIND_URL": HERE,
        "RESCIND_ADMIN_TOKEN_FILE": str(empty / "admin-token"),
        "RESCIND_SOCKET": "/run/kept.sock",
        "RESCIND_AUTHORITY_CA_FILE": "/etc/ca.pem",
        "RESCIND_ALLOW_PLAINTEXT": "authority",
    }
    write_env(empty, found)
    return empty


@pytest.mark.usefixtures("kept")
def test_the_data_directory_has_all_that_an_administrator_needs() -> None:
    found = settings.load().admin()
    assert (found.url, found.token.reveal()) == (HERE, "kept-token")
    assert found.security.files.ca == Path("/etc/ca.pem")
    assert found.security.plaintext


@pytest.mark.usefixtures("kept")
def test_the_environment_takes_precedence_over_the_data_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESCIND_URL", f"{ELSEWHERE}, {HERE}")
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", " mine\n")
    monkeypatch.setenv("RESCIND_AUTHORITY_CA_FILE", "/mine.pem")
    found = settings.load().admin()
    assert (found.url, found.token.reveal()) == (f"{ELSEWHERE}, {HERE}", "mine")
    assert found.security.files.ca == Path("/mine.pem")


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("url", [ELSEWHERE, f"{HERE},{ELSEWHERE}"])
def test_the_stored_token_is_sent_to_no_other_authority(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RESCIND_URL", url)
    for client in (Admin, AsyncAdmin):
        with pytest.raises(RescindError, match="no admin token for"):
            client.from_environment()


def test_a_holder_reads_its_token_from_the_environment_and_the_rest_from_the_directory(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept.is_dir()
    with pytest.raises(RescindError, match="RESCIND_TOKEN"):
        settings.load().holder()
    monkeypatch.setenv("RESCIND_TOKEN", "rsc_agt_x\n")
    found = settings.load().holder()
    assert (found.url, found.token.reveal(), found.security.plaintext) == (HERE, "rsc_agt_x", True)


@pytest.mark.parametrize("client", [Admin, AsyncAdmin, Bearer, AsyncBearer])
def test_a_missing_url_is_named_with_the_ways_to_set_it(
    client: type[Admin | AsyncAdmin | Bearer | AsyncBearer], empty: Path
) -> None:
    with pytest.raises(RescindError) as raised:
        client.from_environment()
    name = client.__name__.removeprefix("Async")
    for way in ("RESCIND_URL", f"{name}()", str(empty / "env"), "rescind up"):
        assert way in str(raised.value)


def test_a_missing_admin_token_is_named_with_the_ways_to_set_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESCIND_URL", HERE)
    with pytest.raises(RescindError) as raised:
        Admin.from_environment()
    for way in (HERE, "RESCIND_ADMIN_TOKEN_FILE", "RESCIND_ADMIN_TOKEN", "Admin()"):
        assert way in str(raised.value)


def test_a_token_file_that_is_missing_or_no_text_is_named_without_its_content(
    kept: Path,
) -> None:
    (kept / "admin-token").write_bytes(b"\xff\xfe secret")
    with pytest.raises(RescindError, match=r"admin-token holds no admin token") as raised:
        Admin.from_environment()
    assert "secret" not in str(raised.value)
    (kept / "admin-token").unlink()
    with pytest.raises(RescindError, match="rescind recover admin"):
        Admin.from_environment()


@pytest.mark.usefixtures("kept")
def test_the_socket_is_that_of_the_environment_or_else_of_the_data_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.socket_path() == Path("/run/kept.sock")
    monkeypatch.setenv("RESCIND_SERVICE", "search")
    assert settings.socket_path() == Path("/run/rescind/search.sock")
    monkeypatch.setenv("RESCIND_SOCKET", "/run/mine.sock")
    assert settings.socket_path() == Path("/run/mine.sock")


def test_a_missing_socket_is_named_with_the_ways_to_set_it(empty: Path) -> None:
    with pytest.raises(RescindError) as raised:
        Verifier.attach()
    for way in ("RESCIND_SOCKET", "RESCIND_SERVICE", "Verifier.attach()", str(empty / "env")):
        assert way in str(raised.value)


def test_a_file_that_cannot_be_read_as_settings_matters_only_where_it_is_needed(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept / "env").write_text("RESCIND_SOCKET=a b\n")
    with pytest.raises(data_dir.DataDirectoryError, match="RESCIND_SOCKET"):
        settings.socket_path()
    monkeypatch.setenv("RESCIND_SOCKET", "/run/mine.sock")
    assert settings.socket_path() == Path("/run/mine.sock")


def test_a_user_without_a_home_directory_has_only_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("RESCIND_DATA", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)

    def no_home(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(RescindError, match="RESCIND_URL"):
        Admin.from_environment()
    monkeypatch.setenv("RESCIND_URL", HERE)
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", "mine")
    assert settings.load().admin().token.reveal() == "mine"
    with pytest.raises(data_dir.DataDirectoryError, match="RESCIND_DATA"):
        data_dir.locate({})
