"""Every path, command and tool that contributors are told of exists, and every file complies."""

import ast
import configparser
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from tests.support import documents
from tests.support.documents import FOLDERS, ROOT, TESTS

PAGE = ROOT / ".github" / "CONTRIBUTING.md"
RELEASING = ROOT / ".github" / "RELEASING.md"
SCRIPTS = Path(sys.executable).parent
_FILE = re.compile(r"[\w./-]+/[\w./-]*|\.?[\w-]+\.(?:md|toml|yaml|txt)")
_URL_PATHS = ("/v1/",)
_MODULES_TO_READ = 5
_RECIPES = ("How to add an endpoint", "How to add a wire field", "How to add an integration")
_TEXT = {".py", ".md", ".sql", ".toml", ".yaml", ".json", ".txt", ""}


def commands(page: Path = PAGE) -> list[list[str]]:
    """Return the words of each command that a page shows."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def section(title: str) -> str:
    _, _, rest = PAGE.read_text().partition(f"## {title}\n")
    return rest.partition("\n## ")[0]


def named(page: Path) -> list[str]:
    """Return every path that a page shows as code."""
    paths = [span for span in documents.spans(page) if _FILE.fullmatch(span)]
    return [path for path in paths if not path.startswith(_URL_PATHS)]


@pytest.mark.parametrize("page", [PAGE, RELEASING], ids=lambda page: page.stem)
def test_every_path_of_a_page_exists(page: Path) -> None:
    paths = named(page)
    assert len(paths) > (40 if page == PAGE else 0)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("title", _RECIPES)
def test_every_step_of_a_recipe_names_its_files(title: str) -> None:
    rows = re.findall(r"^\| (?!step|---)(.+) \| (.+) \|$", section(title), re.MULTILINE)
    assert len(rows) > 5
    assert [what for what, files in rows if not re.fullmatch(r"`[^`]+`(, `[^`]+`)*", files)] == []


def test_the_modules_to_read_first_have_docstrings() -> None:
    listed = re.findall(r"^\d\. `([^`]+)`", section("Where to start reading"), re.MULTILINE)
    assert len(listed) == _MODULES_TO_READ
    for path in listed:
        assert ast.get_docstring(ast.parse((ROOT / path).read_text())), path


def test_every_folder_of_tests_has_its_line() -> None:
    folders = {path.name for path in TESTS.iterdir() if list(path.glob("**/test_*.py"))}
    told = set(re.findall(r"`tests/(\w+)/`", section("Where tests go")))
    assert folders - told == {"typing"}, "tests/typing holds the public API, and nothing else"


@pytest.mark.parametrize("page", [PAGE, RELEASING], ids=lambda page: page.stem)
def test_every_command_of_a_page_can_be_run(page: Path) -> None:
    programs = {words[0] for words in commands(page)}
    assert len(programs) > 3
    for program in programs:
        inside = program.removeprefix(".venv/bin/").removeprefix("empty/bin/")
        found = shutil.which(inside, path=f"{SCRIPTS}:{ROOT}:{os.environ['PATH']}")
        assert found or os.access(ROOT / program, os.X_OK), program


@pytest.mark.parametrize("page", [PAGE, RELEASING], ids=lambda page: page.stem)
def test_every_argument_of_a_command_is_known(page: Path) -> None:
    tiers = re.search(r"case \"\$\{1-\}\" in ([\w |]+)\)", (ROOT / ".ci" / "run").read_text())
    assert tiers
    for program, *arguments in commands(page):
        if program == ".ci/run":
            assert set(arguments) <= set(tiers[1].split(" | "))
        for path in arguments:
            if path.split("/")[0] in FOLDERS:
                assert (ROOT / path).exists(), path
        if "-m" in arguments:
            module = arguments[arguments.index("-m") + 1]
            assert importlib.util.find_spec(module), module


def test_a_release_is_built_and_checked_as_the_page_says() -> None:
    """The page names what the script makes; test_wheel.py runs the script."""
    script = (ROOT / ".ci" / "build").read_text()
    for step in ("twine", "cyclonedx-py", "SHA256SUMS"):
        assert step in script


def test_the_dev_extra_installs_every_tool_of_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dev = {re.split(r"[\[>]", each)[0] for each in project["optional-dependencies"]["dev"]}
    programs = [words[0] for words in commands() if words[0].startswith(".venv/bin/")]
    tools = {program.removeprefix(".venv/bin/") for program in programs}
    assert {"pytest", "pre-commit"} <= tools
    assert tools - {"pip", "python"} <= dev


def test_the_hooks_run_the_tools_of_the_lock_and_download_nothing() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    checked = subprocess.run(
        [SCRIPTS / "pre-commit", "validate-config", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    assert {Path(program).name for program, *_ in entries} == {"ruff", "mypy"}
    assert {str(Path(program).parent) for program, *_ in entries} == {".venv/bin"}


def sources() -> Iterator[Path]:
    """Return every text of the repository."""
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*")
    yield from ROOT.glob("*.*")
    yield ROOT / "LICENSE"


def rules(path: Path) -> dict[str, str]:
    """Return what .editorconfig asks of a file: later sections override earlier ones."""
    parser = configparser.ConfigParser()
    parser.read_string("[root]\n" + (ROOT / ".editorconfig").read_text())
    asked: dict[str, str] = {}
    for glob in parser.sections():
        head, _, alternatives = glob.rstrip("}").partition("{")
        if glob != "root" and any(
            fnmatch(path.name, head + each) for each in alternatives.split(",")
        ):
            asked |= parser[glob]
    return asked


def faults(path: Path) -> Iterator[str]:
    """Return what in a file differs from what .editorconfig asks."""
    asked, content = rules(path), path.read_bytes()
    text = content.decode(asked["charset"])
    lines = text.split("\n")
    if b"\r" in content:
        yield "a carriage return"
    if content and not content.endswith(b"\n"):
        yield "no newline at the end"
    if any(line != line.rstrip() for line in lines):
        yield "space at the end of a line"
    if any(line.startswith("\t") for line in lines):
        yield "a tab as indentation"
    if path.suffix == ".json" and any(_indent(line) % int(asked["indent_size"]) for line in lines):
        yield f"an indentation that is not a multiple of {asked['indent_size']}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def test_every_file_complies_with_the_editor_configuration() -> None:
    files = [
        path
        for path in sources()
        if path.is_file() and path.suffix in _TEXT and "__pycache__" not in path.parts
    ]
    assert len(files) > 500
    found = {str(path.relative_to(ROOT)): list(faults(path)) for path in files}
    assert {name: each for name, each in found.items() if each} == {}


def test_the_check_of_files_finds_what_editors_do_wrong(tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(b"{ \r\n\t1\n   2")
    assert len(list(faults(path))) == 5
