"""The documents build into a site without a warning, with the reference, and load nothing."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import documents
from tests.support.documents import ROOT
from tests.unit.rescind_cli.test_main import commands

from rescind_authority.settings import AuthoritySettings
from rescind_sidecar.settings import SidecarSettings

_LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"")
_LINKED = re.compile(r"<link\b[^>]*>")
_PAGES_AT_LEAST = 50


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    scripts = Path(sys.executable).parent
    built = subprocess.run(
        [ROOT / ".ci" / "docs", folder],
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


pytestmark = pytest.mark.timeout(600)


def shown(site: Path, name: str) -> str:
    """Return the text of a page of the reference."""
    page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_every_page_of_the_repository_is_in_the_site_and_can_be_searched(site: Path) -> None:
    pages = [page.relative_to(ROOT).with_suffix(".html") for page in documents.pages()]
    assert len(pages) > _PAGES_AT_LEAST
    assert [page for page in pages if not (site / page).is_file()] == []
    assert "quick-start" in (site / "searchindex.js").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = [*_LOADED.findall(text), *_LINKED.findall(text)]
        assert loaded
        assert [each for each in loaded if "//" in each] == [], page.name


def test_the_reference_has_every_command(site: Path) -> None:
    text = shown(site, "command-line")
    assert [name for name, _ in commands() if f"rescind {name} " not in text] == []


@pytest.mark.parametrize("settings", [AuthoritySettings, SidecarSettings])
def test_the_reference_has_every_setting(site: Path, settings: type[AuthoritySettings]) -> None:
    text = shown(site, "settings")
    assert [each for each in settings.model_fields if f"RESCIND_{each.upper()}" not in text] == []


@pytest.mark.parametrize("operation", ["POST /v1/tokens", "POST /v1/fleet/{instance}/evict"])
def test_the_reference_has_operations_with_their_scopes(site: Path, operation: str) -> None:
    text = shown(site, "http")
    assert "Scopes: rescind:" in text.partition(operation)[2][:2000]


@pytest.mark.parametrize(
    "name", ["Verifier", "RescindMiddleware", "Admin", "FakeVerifier", "DeniedError"]
)
def test_the_reference_has_the_docstrings_of_public_classes(site: Path, name: str) -> None:
    text = shown(site, "python")
    assert re.search(rf"class\s+[\w.]*{name}\b|exception\s+[\w.]*{name}\b", text)
