"""How long Hypothesis looks: `ci` by default, `long` for a night (HYPOTHESIS_PROFILE=long).

And how long a test may take, which must hold for coroutines too.
"""

import asyncio
import functools
import gc
import inspect
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from tests.support import logs, outcomes

pytest_plugins = ["tests.support.fixtures"]

settings.register_profile(
    "ci",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,  # this machine is shared: a slow example is no finding
    derandomize=True,  # a failing run fails again for the next developer
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    max_examples=5_000,
    stateful_step_count=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also what takes minutes")
    parser.addoption("--seeds", type=int, default=100, help="how many runs are simulated")
    parser.addoption("--seed", type=int, help="which run is simulated again, alone")


def pytest_configure(config: pytest.Config) -> None:
    logs.never_cache()
    config.addinivalue_line("markers", "long: takes minutes; only with --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.path.relative_to(config.rootpath)))
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, _IN_TIME * _timeout_s(item))
        item.add_marker(pytest.mark.flaky(reruns=1, condition=outcomes.only_late))
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="takes minutes: give --long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Collect what a late run left open: its warnings would fail the second run."""
    if getattr(item, "execution_count", 1) == 1:
        return
    for each in ("last_type", "last_value", "last_traceback"):  # pytest keeps the frames there
        vars(sys).pop(each, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


_LONGEST_FIRST = (
    "tests/faults/test_proof.py",
    "tests/faults",
    "tests/simulation",
    "tests/scenarios",
    "tests/integration",
    "tests/contracts",
    "tests/model",
    "tests/properties",
)
"""With two workers the short ones come last, so that neither waits long for the other."""


def _place(path: Path) -> int:
    for place, each in enumerate(_LONGEST_FIRST):
        if path.is_relative_to(each):
            return place
    return len(_LONGEST_FIRST)


_ONE_SYSTEM = tuple(
    f"tests/integration/{name}/" for name in ("cli", "node", "operations", "proxies")
)
"""Folders whose modules share a running system: one worker runs all of each."""


@pytest.hookimpl(optionalhook=True)  # only with xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    """Return the scheduler of `--dist loadscope` with larger scopes, or None for another one."""
    if config.getvalue("dist") != "loadscope":
        return None
    # It is there whenever this is called, and has no types.
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # noqa: PLC0415

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _scope
    return scheduler


def _scope(node_id: str) -> str:
    """Return the name of the tests that run in the same worker as this one."""
    folders = (each for each in _ONE_SYSTEM if node_id.startswith(each))
    return next(folders, node_id.partition("::")[0])


_IN_TIME = 0.95
"""What raises at the limit itself is a signal: asyncio keeps its exception in whichever task runs
just then, and the test goes on. So the test's own task is cancelled a little earlier."""


def _timeout_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


def _bounded(
    test: Callable[..., Awaitable[None]], timeout_s: float
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*arguments: object, **named: object) -> None:
        async with asyncio.timeout(timeout_s):
            await test(*arguments, **named)

    return bounded
