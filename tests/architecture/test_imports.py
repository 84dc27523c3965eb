"""Who may import whom, as pyproject.toml has it."""

import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[2]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGES: list[str] = RULES["root_packages"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_the_import_contracts_are_kept() -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("lint-imports"),
        "--no-logo",
        "--no-cache",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def placed(contracts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the modules that have a layer in a contract that allows no module without one."""
    return {
        f"{container}.{name.strip()}"
        for contract in contracts
        if contract["type"] == "layers" and contract.get("exhaustive")
        for container in contract["containers"]
        for layer in contract["layers"]
        for name in layer.split("|")
    }


def without_a_place(modules: Collection[str], contracts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the modules of our packages that no layer holds, nor a layer that holds a parent."""
    layers = placed(contracts)
    return {
        module
        for module in modules
        if module not in PACKAGES and ".".join(module.split(".")[:2]) not in layers
    }


def test_every_package_that_is_installed_is_in_the_contracts() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = built["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {Path(folder).name for folder in wheel} == set(PACKAGES)


def test_every_module_has_a_layer(graph: grimp.ImportGraph) -> None:
    assert len(graph.modules) > 300
    assert without_a_place(graph.modules, RULES["contracts"]) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_new_module_without_a_layer_is_found(package: str) -> None:
    """The control: a package whose contract is gone, or lists no module, would pass unseen."""
    stray = f"{package}.stray"
    assert without_a_place({stray}, RULES["contracts"]) == {stray}
    assert without_a_place({f"{package}.__main__.part"}, []) == {f"{package}.__main__.part"}


def test_no_modules_import_each_other_in_a_circle(graph: grimp.ImportGraph) -> None:
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in leaves:
            del left[module]
    assert sorted(left) == []
