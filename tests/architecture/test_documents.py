"""What documents and code refer to is there: pages, anchors, sections, files, tests, settings."""

import re
from functools import cache
from pathlib import Path

import pytest
from tests.support import documents
from tests.support.documents import DOCS, FOLDERS, HISTORY, ROOT, TESTS

from rescind_authority.settings import AuthoritySettings
from rescind_sidecar.settings import SidecarSettings

DESIGN = DOCS / "design.md"

_CODE = frozenset({".py", ".sql", ".md", ".toml", ".yaml"})
_NUMBERS = r"\d+(?:\.\d+)*"
_REFERENCE = re.compile(rf"\bdesign(?:,? section)? ({_NUMBERS}(?:(?:, | and ){_NUMBERS})*)\b")
_BREAK = re.compile(r"\n[ \t]*(?:#|--)? ?")  # a reference may go on in the next line of a comment
_ELSEWHERE = re.compile(r"\b(?:contract|research), (?:[A-Z]|\d|section|invariant)")
_TEST_FILE = re.compile(r"[\w/]*\btest_\w+\.py")
_TEST_NAME = re.compile(r"\btest_\w+")
_PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]+")
_DOCUMENT = re.compile(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w/-]+\.md\b")
_SETTING = re.compile(r"\bRESCIND_[A-Z_]*[A-Z]\b")

_OF_DOCS = [page for page in documents.pages() if DOCS in page.parents]
_OF_USERS = [page for page in documents.pages() if TESTS not in page.parents]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", documents.pages(), ids=name)
def test_every_link_leads_to_a_file_and_an_anchor_that_exist(page: Path) -> None:
    broken: list[str] = []
    for link in documents.links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        exists = target.exists() and target.is_relative_to(ROOT)
        if not exists or (anchor and anchor not in documents.anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_reference_to_the_design_names_a_section_of_it() -> None:
    sections = set(re.findall(rf"^##+ ({_NUMBERS})\.? ", documents.prose(DESIGN), re.MULTILINE))
    named = {
        section: path
        for path in code()
        for reference in _REFERENCE.findall(_BREAK.sub(" ", text(path)))
        for section in re.findall(_NUMBERS, reference)
    }
    assert len(named) > 10
    assert {section: name(path) for section, path in named.items() if section not in sections} == {}


def test_every_theorem_and_step_that_is_referred_to_is_in_the_design() -> None:
    stated = {heading.lower() for heading in re.findall(r"^###+ (.+)$", text(DESIGN), re.MULTILINE)}
    theorems = {found for path in code() for found in re.findall(r"\bTheorem \d", text(path))}
    assert theorems >= {"Theorem 1", "Theorem 2"}
    assert {each.lower() for each in theorems} <= stated
    steps = {found for path in code() for found in re.findall(r"\bG\d\b", text(path))}
    assert steps == set(re.findall(r"\*\*(G\d)\*\*", text(DESIGN)))


def test_every_invariant_that_is_referred_to_is_in_the_design() -> None:
    stated = {row[0] for row in documents.table(DESIGN, headed="invariant")}
    proof = [TESTS / "PROOF.md", *(TESTS / "support" / "proof").glob("*.py")]
    named = {found for path in proof for found in re.findall(r"\bI\d+\b", text(path))}
    assert named
    assert named <= stated


def test_nothing_refers_to_a_document_that_is_not_in_the_repository() -> None:
    found = {name(path): _ELSEWHERE.findall(text(path)) for path in code() if path != HISTORY}
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize("page", documents.pages(), ids=name)
def test_every_test_that_a_document_names_exists(page: Path) -> None:
    """A file without a folder may be anywhere in the tree, and so may a function without a file."""
    missing: list[str] = []
    for span in documents.spans(page):
        named = _TEST_FILE.findall(span)
        files = [path for path in defined() for each in named if f"/{path}".endswith(f"/{each}")]
        missing += [each for each in named if not any(f"/{path}".endswith(each) for path in files)]
        functions = _TEST_NAME.findall(_TEST_FILE.sub("", span))
        known = {each for path in files or defined() for each in defined()[path]}
        missing += [each for each in functions if each not in known]
    assert missing == []


@pytest.mark.parametrize("page", documents.pages(), ids=name)
def test_every_file_that_a_document_names_exists(page: Path) -> None:
    if page == HISTORY:
        pytest.skip("it names what there was")
    paths = (span.partition("::")[0] for span in documents.spans(page))
    named = [path for path in paths if _PATH.fullmatch(path)]
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_document_that_the_code_names_exists() -> None:
    named = {
        document: name(path)
        for path in code()
        if path != HISTORY
        for document in _DOCUMENT.findall(text(path))
    }
    assert len(named) > 10
    assert {
        document: path for document, path in named.items() if not (ROOT / document).exists()
    } == {}


@pytest.mark.parametrize("page", _OF_USERS, ids=name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    assert set(_SETTING.findall(documents.prose(page))) <= settings()


@pytest.mark.parametrize("page", _OF_DOCS, ids=name)
def test_the_index_leads_to_every_page(page: Path) -> None:
    index = page.parent / "README.md"
    if page == index:
        index = DOCS / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in documents.links(index)}
    assert page == index or page in linked


def test_the_way_through_the_code_names_modules_that_exist() -> None:
    """What docs/reference/walk-through.md, or another page there, names is a module or a folder."""
    there = {
        f"/{path.relative_to(ROOT).with_suffix('').as_posix()}"
        for folder in ("services", "shared", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sql"} or path.is_dir()
    }
    named = {
        (page.name, found)
        for folder in ("docs/reference", "services", "shared")
        for page in (ROOT / folder).glob("*.md")
        for found in re.findall(r"`([a-z_]+(?:/[a-z0-9_]+)+)(?:\.py|\.sql)?`", text(page))
    }
    assert len(named) > 50
    lost = [
        (page, name)
        for page, name in sorted(named)
        if not any(path.endswith(f"/{name}") for path in there)
    ]
    assert lost == []


@cache
def code() -> tuple[Path, ...]:
    """Return every file that may refer to a section."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    here = Path(__file__).resolve()
    return tuple(
        path
        for path in (*ROOT.glob("*"), *inside)
        if path.is_file() and path.suffix in _CODE and path.resolve() != here
    )


@cache
def text(path: Path) -> str:
    """Return what is in a file."""
    return path.read_text(encoding="utf-8")


@cache
def defined() -> dict[str, frozenset[str]]:
    """Return the name and the functions of each file of tests, by its path."""
    return {
        name(path): frozenset({path.stem, *re.findall(r"def (test_\w+)", text(path))})
        for path in TESTS.rglob("test_*.py")
    }


@cache
def settings() -> frozenset[str]:
    """Return every variable of the environment that is read, or that the code speaks of."""
    fields = AuthoritySettings.model_fields | SidecarSettings.model_fields
    known = {f"RESCIND_{field.upper()}" for field in fields}
    spoken_of = {
        found
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for found in _SETTING.findall(text(path))
    }
    return frozenset(known | {f"{variable}_FILE" for variable in known} | spoken_of)
