"""What `deploy/tls.md` shows is what the processes take."""

import re
from pathlib import Path

import nkeys  # type: ignore[import-untyped]  # it has no types
import pytest
from tests.support import nats_accounts
from tests.support.tls import Pki

from rescind.client.causes import Fault
from rescind.client.tls import LINKS
from rescind_authority.settings import AuthoritySettings
from rescind_runtime import settings
from rescind_runtime.net import nats_client
from rescind_runtime.settings import LinkedSettings
from rescind_sidecar.settings import SidecarSettings

PAGE = (Path(__file__).parents[2] / "deploy" / "tls.md").read_text(encoding="utf-8")
ASSIGNED = re.compile(r"^(RESCIND_\w+)=(.+)$", re.MULTILINE)


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the files that the page names, and nothing of ours in the environment."""
    for variable in settings.environment():
        if variable.startswith("RESCIND_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    pki = Pki.make(tmp_path / "etc")
    pki.cert("server").rename(pki.folder / "authority.pem")
    pki.key("server").rename(pki.folder / "authority.key")
    (pki.folder / "postgres-password").write_text("secret\n")
    (pki.folder / "search.credential").write_text("rsc_svc_x\n")
    (pki.folder / "authority.creds").write_text(nats_accounts.accounts().creds)
    (pki.folder / "search.seed").write_text(nats_accounts.seed(nkeys.PREFIX_BYTE_USER))
    return pki.folder


@pytest.mark.parametrize(
    ("heading", "kind"), [("An authority", AuthoritySettings), ("A sidecar", SidecarSettings)]
)
def test_an_example_is_taken_and_leaves_no_link_in_clear_text(
    heading: str, kind: type[LinkedSettings], etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    given = dict(ASSIGNED.findall(example))
    assert len(given) > 6
    for variable, text in given.items():
        monkeypatch.setenv(variable, text.replace("/etc/rescind", str(etc)))
    loaded = kind.load()
    assert loaded.plaintext == frozenset()
    assert set(nats_client.options(loaded.nats)) & {"user_credentials", "nkeys_seed"}
    known = kind.described()["variables"]
    assert isinstance(known, list)
    assert {each.removeprefix("RESCIND_") for each in given} <= set(known)


def test_each_setting_of_a_link_stands_on_the_page_and_each_on_the_page_is_one() -> None:
    fields = {*AuthoritySettings.model_fields, *SidecarSettings.model_fields}
    ours = {
        f"RESCIND_{name.upper()}"
        for name in fields
        if name.endswith("_file") and name.split("_")[0] in LINKS
    }
    spelled = set(re.findall(r"RESCIND_[A-Z_]+_FILE", PAGE))
    for row in re.findall(r"^\| `.*$", PAGE, re.MULTILINE):
        for first, rest in re.findall(r"(RESCIND_[A-Z]+)_[A-Z]+_FILE((?:`, `_[A-Z]+_FILE)*)", row):
            spelled |= {f"{first}{each}" for each in re.findall(r"_[A-Z]+_FILE", rest)}
    assert ours <= spelled
    urls = {"RESCIND_REDIS_URL_FILE", "RESCIND_CREDENTIAL_FILE"}
    assert spelled - urls <= ours


def test_each_cause_and_each_link_stands_on_the_page() -> None:
    causes = {str(kind) for kind in Fault} - {Fault.OTHER}
    assert {*causes, *LINKS} <= set(re.findall(r"`([a-z_]+)`", PAGE))
