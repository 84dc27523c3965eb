"""Checks of the machine: its clocks, the speed of checks, and core dumps with secrets."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from rescind.client import clock as sdk_clock
from rescind.core.generation_table import ORDERED_MACHINES
from rescind.errors import RescindError
from rescind_cli.doctor import findings
from rescind_cli.doctor.findings import Finding
from rescind_runtime import clock, dumps

_OLDEST_PYTHON = (3, 11)
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
# Those that a program reads without a system call, and that do not drift.
_GOOD_SOURCES = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})


def check() -> Iterator[Finding]:
    """Check platform, Python, clocks and core dumps."""
    yield _check_python()
    yield _check_platform()
    yield from _check_clocks()
    yield _check_core_dumps()


def _check_python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        return findings.ok("python", version)
    return findings.failed("python", f"{version} is too old", "Use Python 3.11 or newer.")


def _check_platform() -> Finding:
    machine = platform.machine()
    message = f"{platform.system()} {platform.release()} on {machine}"
    if machine.lower() in ORDERED_MACHINES:
        return findings.ok("platform", message)
    return findings.warning(
        "platform",
        f"{message}: checks go over the socket, tens of microseconds each",
        "Nothing to repair. Shared memory is used on x86-64 only, where loads keep their order.",
    )


def _check_clocks() -> Iterator[Finding]:
    try:
        clock.require_linux()
    except RescindError as error:
        yield findings.failed("clock", str(error), "Move this service to Linux.")
        return
    try:
        boot = sdk_clock.boot_id().hex()
    except OSError as error:
        yield findings.failed(
            "clock",
            f"the boot id cannot be read ({error.strerror})",
            "Make /proc/sys/kernel/random/boot_id readable in this container.",
        )
        return
    yield findings.ok("clock", f"CLOCK_BOOTTIME is available, boot id {boot[:12]}")
    yield _check_clock_source()


def _check_core_dumps() -> Finding:
    how = dumps.possible()
    if how is None:
        return findings.ok("core dumps", "processes that are started here leave none")
    return findings.warning(
        "core dumps",
        f"{how}: a dump of a workload contains the tokens that it received",
        "Authority and sidecar leave none. Start workloads with LimitCORE=0 (ulimit -c 0), and "
        "configure the kernel to pass dumps to no program, or restrict access to the dumps.",
    )


def _check_clock_source() -> Finding:
    try:
        source = _CLOCKSOURCE.read_text(encoding="ascii").strip()
    except OSError:
        return findings.skipped("clock source", "the kernel does not report its clock source")
    if source in _GOOD_SOURCES:
        return findings.ok("clock source", source)
    return findings.warning(
        "clock source",
        f"{source}: reading the clock is a system call, and each check reads it",
        "Correct, but slower. If the processor's counter is stable, boot with clocksource=tsc.",
    )
