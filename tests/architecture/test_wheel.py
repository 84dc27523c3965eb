"""What users install: the packages of the list, with their data, and nothing else."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version
from tests.support.releases import LOCKS, ROOT, build, locked

PACKAGES = {
    "rescind",
    "rescind_runtime",
    "rescind_authority",
    "rescind_cli",
    "rescind_lab",
    "rescind_sidecar",
}
CODE = {".py", ".pyc"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def members(built: Path) -> set[PurePosixPath]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def sources() -> set[PurePosixPath]:
    """List what the packages hold, as paths in the wheel."""
    roots = [ROOT / "shared", ROOT / "services"]
    return {
        PurePosixPath(path.relative_to(root))
        for root in roots
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_top_level_names_are_those_of_the_list(members: set[PurePosixPath]) -> None:
    names = {member.parts[0] for member in members}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES


def test_every_source_file_is_in_the_wheel(members: set[PurePosixPath]) -> None:
    assert sources() <= members


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_ships_a_py_typed_marker(members: set[PurePosixPath], package: str) -> None:
    assert PurePosixPath(package, "py.typed") in members


def test_the_sql_statements_are_in_the_wheel(members: set[PurePosixPath]) -> None:
    folder = PurePosixPath("rescind_authority", "postgres")
    inside = {member.parent for member in members if member.suffix == ".sql"}
    assert {folder / "queries", folder / "migrations"} <= inside


@pytest.mark.parametrize("name", ["shared", "services", "tests"])
def test_the_roots_are_not_in_the_wheel(members: set[PurePosixPath], name: str) -> None:
    assert name not in {member.parts[0] for member in members}


@pytest.mark.parametrize("name", ["shared", "services"])
def test_the_roots_cannot_be_imported(name: str) -> None:
    command = [sys.executable, "-I", "-c", f"import {name}"]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in run.stderr


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_package_is_a_regular_one(name: str) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None  # a namespace package has none


def test_another_checkout_builds_the_same_bytes(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    for name in ("shared", "services", "deploy", ".ci", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)  # without its times
    (copy / ".gitignore").write_text(".venv\n")
    for path in (copy / "services").rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    again = build(copy, tmp_path / "release")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in built.iterdir()
    }


def test_the_bill_of_materials_names_every_deployed_release(built: Path) -> None:
    (path,) = built.glob("*.cdx.json")
    bill = json.loads(path.read_text())
    listed = {
        canonicalize_name(each["name"]): Version(each["version"]) for each in bill["components"]
    }
    assert listed == {name: release for name, (release, _) in locked(LOCKS["all"]).items()}
    assert bill["metadata"]["component"]["name"] == "rescind"
