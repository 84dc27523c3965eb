"""What users install: the packages of the list, with their data, and nothing else."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "rescind",
    "rescind_runtime",
    "rescind_authority",
    "rescind_cli",
    "rescind_sidecar",
}
CODE = {".py", ".pyc"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[PurePosixPath]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = folder.glob("*.whl")
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


def test_the_top_level_names_are_those_of_the_list(members: set[PurePosixPath]):
    names = {member.parts[0] for member in members}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES


def test_every_source_file_is_inside(members: set[PurePosixPath]):
    assert sources() <= members


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_says_that_it_is_typed(members: set[PurePosixPath], package: str):
    assert PurePosixPath(package, "py.typed") in members


def test_the_statements_of_the_database_are_inside(members: set[PurePosixPath]):
    folder = PurePosixPath("rescind_authority", "postgres")
    inside = {member.parent for member in members if member.suffix == ".sql"}
    assert {folder / "queries", folder / "migrations"} <= inside


@pytest.mark.parametrize("name", ["shared", "services", "tests"])
def test_the_roots_are_not_in_the_wheel(members: set[PurePosixPath], name: str):
    assert name not in {member.parts[0] for member in members}


@pytest.mark.parametrize("name", ["shared", "services"])
def test_the_roots_cannot_be_imported(name: str):
    command = [sys.executable, "-I", "-c", f"import {name}"]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in run.stderr


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_package_is_a_regular_one(name: str):
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None  # a namespace package has none
