"""`rescind canary`: revoke a token without power on a schedule, and check that it is denied."""

import itertools
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rescind import Verifier
from rescind.errors import RescindError
from rescind_cli import settings
from rescind_cli.canary.probe import Canary, Round
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import DURATION
from rescind_cli.output import exit_codes, terminal
from rescind_cli.output.exit_codes import Exit

if TYPE_CHECKING:  # prometheus_client is imported only with --metrics
    from rescind_cli.canary.metrics import CanaryMetrics


@click.command()
@click.option("--once", is_flag=True, help="Fly once, and say by the exit code how it went.")
@click.option("--interval", type=DURATION, default=60, help="Between flights. [default: 60s]")
@click.option("--timeout", type=DURATION, default=30, help="For the receipt. [default: 30s]")
@click.option(
    "--socket",
    "sockets",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A sidecar to ask as well; again for more. [default: RESCIND_SOCKET]",
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
    """Revoke a token without power, and check that no verifier accepts it after the receipt.

    The receipt covers every sidecar; the sidecars named by --socket also check the token. The
    command needs an admin token with rescind:issue and rescind:revoke, and runs until Ctrl-C. With
    --once, it exits 0 if the revocation was enforced and the token denied, 1 if the token was still
    accepted, 3 with verifiers in grace, 6 without a receipt in time.
    """
    found = [settings.sidecar(path=path, data=target.data) for path in (sockets or (None,))]
    metrics = None if port is None else _published(port)
    with ExitStack() as stack, target.admin() as admin:
        checkers: dict[str, Verifier] = {}
        for path in found:
            verifier = Verifier.attach(path)
            stack.callback(verifier.close)
            checkers[str(path or verifier.service)] = verifier
        bird = Canary(admin, checkers)
        for flight in itertools.count():
            if flight:
                time.sleep(interval)
            try:
                flown = bird.fly(timeout_s=timeout)
            except RescindError as error:
                if once:
                    raise
                exit_codes.warn(error)
                if metrics:
                    metrics.unreachable()
                continue
            _show(flown, as_json=target.as_json)
            if metrics:
                metrics.flown(flown)
            if once:
                raise click.exceptions.Exit(_exit(flown))


def _published(port: int) -> "CanaryMetrics":
    from rescind_cli.canary.metrics import CanaryMetrics  # noqa: PLC0415 - see above

    metrics = CanaryMetrics()
    try:
        metrics.serve(port)
    except OSError as error:
        raise RescindError(f"--metrics {port}: {error.strerror}") from error
    return metrics


def _exit(flown: Round) -> Exit:
    if flown.faults:
        return Exit.REFUSED
    if flown.enforced_ms is None:
        return Exit.NOT_YET
    return Exit.GRACE if flown.in_grace else Exit.DONE


def _show(flown: Round, *, as_json: bool) -> None:
    if as_json:
        terminal.as_json(flown.document())
        return
    for fault in flown.faults:
        terminal.line("failed", fault.where, fault.what)
    if flown.enforced_ms is None:
        terminal.line("late", flown.revocation_id, "no receipt in time")
        return
    outcomes = " ".join(
        f"{each.service}={each.outcome}:{each.latency_ms:.1f}ms" for each in flown.verifiers
    )
    terminal.line("enforced", f"{flown.enforced_ms:.1f} ms", flown.revocation_id, outcomes)
