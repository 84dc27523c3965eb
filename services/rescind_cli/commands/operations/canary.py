"""`rescind canary`: revoke a token without permissions on a schedule, and check its denial."""

import itertools
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rescind import Verifier
from rescind.errors import RescindError
from rescind_cli import settings
from rescind_cli.canary.probe import Canary, RoundResult
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import DURATION
from rescind_cli.output import exit_codes, terminal
from rescind_cli.output.exit_codes import Exit

if TYPE_CHECKING:  # prometheus_client is imported only with --metrics
    from rescind_cli.canary.metrics import CanaryMetrics


@click.command()
@click.option("--once", is_flag=True, help="Run one round; the exit code reports its result.")
@click.option("--interval", type=DURATION, default=60, help="Time between rounds. [default: 60s]")
@click.option(
    "--timeout", type=DURATION, default=30, help="How long to wait for a receipt. [default: 30s]"
)
@click.option(
    "--socket",
    "sockets",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The socket of a sidecar that also checks the token. Repeatable. "
    "[default: RESCIND_SOCKET]",
)
@click.option(
    "--metrics",
    "port",
    type=click.IntRange(1, 65_535),
    help="Serve /metrics on this loopback port.",
)
@with_target
def canary(
    *,
    target: CommandTarget,
    once: bool,
    interval: int,
    timeout: int,
    sockets: tuple[Path, ...],
    port: int | None,
) -> None:
    """Revoke a token without permissions, and check that verifiers deny it after the receipt.

    The receipt covers every sidecar; the sidecars named by --socket also check the token. The
    command needs an admin token with rescind:issue and rescind:revoke, and runs until Ctrl-C. With
    --once, it exits 0 if the revocation was enforced and the token denied, 1 if the token was still
    accepted, 3 with verifiers in grace, 6 without a receipt in time.
    """
    paths = [settings.sidecar(path=path, data=target.data) for path in (sockets or (None,))]
    metrics = None if port is None else _publish_metrics(port)
    with _attach_all(paths) as verifiers, target.admin() as admin:
        probe = Canary(admin, verifiers)
        for number in itertools.count():
            if number:
                time.sleep(interval)
            try:
                result = probe.run_round(timeout_s=timeout)
            except RescindError as error:
                if once:
                    raise
                exit_codes.warn(error)
                if metrics:
                    metrics.observe_unreachable()
                continue
            _show(result, as_json=target.as_json)
            if metrics:
                metrics.observe(result)
            if once:
                raise click.exceptions.Exit(_exit_code(result))


@contextmanager
def _attach_all(paths: Sequence[Path | None]) -> Generator[Mapping[str, Verifier]]:
    """Attach a verifier to each socket for the block; return them by path or by service."""
    with ExitStack() as stack:
        verifiers: dict[str, Verifier] = {}
        for path in paths:
            verifier = Verifier.attach(path)
            stack.callback(verifier.close)
            verifiers[str(path or verifier.service)] = verifier
        yield verifiers


def _publish_metrics(port: int) -> "CanaryMetrics":
    from rescind_cli.canary.metrics import CanaryMetrics  # noqa: PLC0415 - see above

    metrics = CanaryMetrics()
    try:
        metrics.serve(port)
    except OSError as error:
        raise RescindError(f"--metrics {port}: {error.strerror}") from error
    return metrics


def _exit_code(result: RoundResult) -> Exit:
    if result.faults:
        return Exit.REFUSED
    if result.enforced_ms is None:
        return Exit.NOT_YET
    return Exit.GRACE if result.in_grace else Exit.DONE


def _show(result: RoundResult, *, as_json: bool) -> None:
    if as_json:
        terminal.as_json(result.document())
        return
    for fault in result.faults:
        terminal.line("failed", fault.where, fault.what)
    if result.enforced_ms is None:
        terminal.line("late", result.revocation_id, "no receipt in time")
        return
    outcomes = " ".join(
        f"{each.service}={each.outcome}:{each.latency_ms:.1f}ms" for each in result.verifiers
    )
    terminal.line("enforced", f"{result.enforced_ms:.1f} ms", result.revocation_id, outcomes)
