"""An integration imports its framework and the SDK, and says what to install."""

import subprocess
import sys

import grimp
import pytest

NEEDED = {
    "aiohttp": ("aiohttp", "aiohttp"),
    "arq": ("arq", "arq"),
    "celery": ("celery", "celery"),
    "django": ("django", "django"),
    "drf": ("rest_framework", "djangorestframework"),
    "fastapi": ("fastapi", "fastapi"),
    "flask": ("flask", "flask"),
    "grpc": ("grpc", "grpcio"),
    "litestar": ("litestar", "litestar"),
}
"""The package that each integration imports, and the one that is installed for it."""
BROUGHT = {"asgiref": "django", "starlette": "fastapi", "django": "rest_framework"}
"""Packages that come with another one, so that an integration may import both."""
FRAMEWORKS = {package for package, _ in NEEDED.values()} | BROUGHT.keys()


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("rescind", include_external_packages=True, cache_dir=None)


def imported(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Return the packages of others that a module imports, but those of Python."""
    found = {each.partition(".")[0] for each in graph.find_modules_directly_imported_by(module)}
    return found - sys.stdlib_module_names - {"rescind", "_typeshed"}


def test_an_integration_imports_its_framework_and_nothing_else_that_is_not_the_sdk(
    graph: grimp.ImportGraph,
) -> None:
    modules = {each for each in graph.modules if each.startswith("rescind.integrations.")}
    assert len(modules) > 10
    for module in modules:
        name = module.rpartition(".")[2]
        package = NEEDED.get(name, (None, ""))[0]
        allowed = {package, *(each for each, by in BROUGHT.items() if by == package)}
        assert imported(graph, module) <= allowed, module


def test_no_module_outside_the_integrations_imports_a_framework(graph: grimp.ImportGraph) -> None:
    modules = {each for each in graph.modules if each.startswith("rescind")}
    others = {each for each in modules if not each.startswith("rescind.integrations")}
    assert [each for each in others if imported(graph, each) & FRAMEWORKS] == []


@pytest.mark.parametrize("integration", NEEDED)
def test_an_integration_without_its_framework_says_what_to_install(integration: str) -> None:
    package, install = NEEDED[integration]
    run = _run(f"sys.modules['{package}'] = None\nimport rescind.integrations.{integration}")
    assert run.returncode == 1
    assert f"pip install {install}" in run.stderr.splitlines()[-1]


def test_the_sdk_and_the_middleware_load_no_package_but_msgpack() -> None:
    packages = ("sys", "rescind", "rescind.integrations.asgi", "rescind.integrations.wsgi")
    run = _run(
        f"before = set(sys.modules)\nimport {', '.join(packages)}\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - sys.stdlib_module_names - {'rescind'}))"
    )
    loaded = [each for each in run.stdout.split() if "cython" not in each]  # inside of msgpack
    assert loaded == ["msgpack"], run.stderr


def _run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=False
    )
