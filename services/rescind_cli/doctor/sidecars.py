"""Checks of this machine's sidecars: they answer, hold a lease, and follow the ledger."""

import platform
import secrets
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from rescind.client import clock as sdk_clock
from rescind.client import settings as sdk_settings
from rescind.client.table_reader import MappedTable
from rescind.client.transport import BlockingConnection
from rescind.core import generation_table, token_format
from rescind.core.generation_table import DEADLINE
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind.errors import TableError, UnreachableError
from rescind.wire.socket_protocol import Check, Clock, Greeting, Now, Verdict
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.authority import Fleet
from rescind_cli.doctor.findings import Finding, Level
from rescind_cli.settings import LocalSettings

_TIMEOUT_S = 2.0
_START = "Start it with `rescind up` or `rescind sidecar`, or correct RESCIND_SOCKET."


def sockets(local: LocalSettings) -> list[Path]:
    """Return the sockets of this machine: the configured one, and those beside it.

    They include a socket that a killed sidecar left behind; a stopped sidecar leaves none.
    """
    named = local.find("RESCIND_SOCKET")
    service = local.find("RESCIND_SERVICE")
    first = Path(named) if named else sdk_settings.default_socket_path(service) if service else None
    folder = first.parent if first else sdk_settings.RUN
    beside = [table.with_suffix(".sock") for table in sorted(folder.glob("*.table"))]
    return list(dict.fromkeys([*([first] if first else []), *beside]))


def check(local: LocalSettings, fleet: Fleet | None) -> Iterator[Finding]:
    """Check each sidecar."""
    found = sockets(local)
    if not found:
        yield findings.skipped("sidecar", "no sidecar runs here, and RESCIND_SOCKET is not set")
    for path in found:
        yield from _check_sidecar(path, fleet)


def verdict_of(path: Path, token: Secret) -> dict[str, object]:
    """Return one sidecar's verdict on a token, without the requirements of a call."""
    found: dict[str, object] = {"socket": str(path), "service": path.stem}
    try:
        connection = BlockingConnection(path, deadline_s=_deadline_s())
        try:
            greeting = connection.greeting
            request = Check(1, token.reveal(), (), None)
            answer = connection.send(request, deadline_s=_deadline_s())
        finally:
            connection.close()
    except UnreachableError as error:
        return found | {"accepts": None, "says": f"does not answer: {driver_errors.reason(error)}"}
    found |= {"service": greeting.service, "instance": greeting.instance.hex()}
    if not isinstance(answer, Verdict):
        return found | {"accepts": None, "says": "sends an answer of an unknown type"}
    if answer.reason is not None:
        return found | {
            "accepts": False,
            "reason": answer.reason,
            "says": f"denies it: {answer.reason}",
        }
    return found | {"accepts": True, "says": f"accepts it, as of seq {answer.as_of}"}


def _check_sidecar(path: Path, fleet: Fleet | None) -> Iterator[Finding]:
    part = f"sidecar {path.stem}"
    try:
        connection = BlockingConnection(path, deadline_s=_deadline_s())
    except UnreachableError as error:
        message = f"nothing answers at {path}: {driver_errors.reason(error)}"
        yield findings.failed(part, message, _choose_advice(error))
        return
    greeting, leased, refused = connection.greeting, True, None
    try:
        refused = _fetch_refusal(connection)
        table = _map_table(path, connection)
        yield findings.ok(
            part,
            f"{path}, instance {greeting.instance.hex()[:12]}, {greeting.posture}",
        )
        lease = _check_lease(f"{part}: lease", connection, table, refused)
        yield lease
        leased = lease.level is Level.OK
        if isinstance(table, MappedTable):
            yield findings.ok(f"{part}: table", "shared: checks read it without a system call")
            yield _check_position(f"{part}: ledger", table, fleet)
        else:
            yield findings.warning(f"{part}: table", f"not shared: {table}", _TABLE_ADVICE)
    except UnreachableError as error:
        yield findings.failed(part, f"it fails after the greeting: {error}", "Check its log.")
    finally:
        connection.close()
    if fleet is not None:
        yield from _compare_with_fleet(part, greeting, fleet, leased=leased, refused=refused)


_TABLE_ADVICE = (
    "Checks from here use the socket, and take tens of microseconds each. For shared memory, share "
    "the volume with the sidecar, in the same kernel and time namespace."
)


_ELSEWHERE = "It belongs to another authority: compare its RESCIND_NATS_URL with the authority's."
_NOT_ENROLLED = (
    "It has not enrolled. If its log says enrolment.refused, its credential was revoked, has "
    "expired or is another service's: create one with `rescind sidecar enrol`, and restart the "
    "sidecar. Otherwise compare its RESCIND_NATS_URL with the authority's."
)
_RENEW = (
    "Create another credential with `rescind sidecar enrol`, and restart the sidecar with it "
    "(RESCIND_CREDENTIAL_FILE)"
)
_NO_RIGHT = "Give your user and its workloads access: as its owner, or as members of its group."
_HANGS = "It is stopped or overloaded: check its process (kill -CONT resumes it) and its log."
_LEFT = "It was killed and left its socket behind: start `rescind sidecar` again."


def _choose_advice(error: UnreachableError) -> str:
    match error.__cause__ or error.__context__:
        case PermissionError():
            return _NO_RIGHT
        case TimeoutError() | BlockingIOError():
            return _HANGS
        case ConnectionRefusedError():
            return _LEFT
        case _:
            return _START


def _map_table(path: Path, connection: BlockingConnection) -> MappedTable | str:
    """Map the table as the SDK would, or return why the SDK would reject it (design 6.2)."""
    if platform.machine().lower() not in generation_table.ORDERED_MACHINES:
        return f"{platform.machine()} may reorder loads"
    try:
        table = MappedTable.open(path.with_suffix(".table"))
    except TableError as error:
        return str(error)
    greeting = connection.greeting
    if table.instance != greeting.instance:
        return "the file is of another instance: a sidecar is starting, or two share the path"
    if not table.boot == greeting.boot == sdk_clock.boot_id():
        return "the sidecar runs on another kernel, or did before a reboot"
    before_ns = sdk_clock.boottime_ns()
    response = connection.send(Clock(0), deadline_s=_deadline_s())
    if not isinstance(response, Now) or not (
        before_ns <= response.boottime_ns <= sdk_clock.boottime_ns()
    ):
        return "its CLOCK_BOOTTIME differs: it runs in another time namespace"
    return table


def _deadline_s() -> float:
    return sdk_clock.monotonic_s() + _TIMEOUT_S


def _fetch_refusal(connection: BlockingConnection) -> str | None:
    """Return why the sidecar is refused a lease.

    None if it is not refused, or is too old to report it.
    """
    response = connection.send(Clock(0), deadline_s=_deadline_s())
    return response.refused if isinstance(response, Now) else None


def _check_lease(
    part: str, connection: BlockingConnection, table: MappedTable | str, refused: str | None
) -> Finding:
    if isinstance(table, MappedTable):
        ends_ns = min(table.words[word] for word in DEADLINE.values())
        left_s = (ends_ns - sdk_clock.boottime_ns()) / 1e9
        held, message = left_s > 0, f"held, {left_s:.1f} s left"
    else:
        held, message = _holds_lease(connection), "held"
    if refused is not None:
        # The authority's problem and advice; an older authority sends only the problem.
        why, _, advice = refused.partition(". ")
        lease = "it ends soon, and no other is granted" if held else "none"
        return findings.failed(part, f"{lease}: {why}", f"{advice or _RENEW}.")
    if held:
        return findings.ok(part, message)
    return findings.failed(
        part,
        "none: every check is denied with no_lease",
        "It reaches no authority: see the lines of the authority and of NATS, and its log.",
    )


def _holds_lease(connection: BlockingConnection) -> bool:
    """Return True if the sidecar holds a lease: it then denies a made-up token as `unknown`."""
    made_up = token_format.mint(
        kind=Kind.AGENT, random=secrets.token_bytes(32), edge_key=secrets.token_bytes(32)
    )
    verdict = connection.send(Check(1, made_up.reveal(), (), None), deadline_s=_deadline_s())
    return isinstance(verdict, Verdict) and verdict.reason != Reason.NO_LEASE


def _check_position(part: str, table: MappedTable, fleet: Fleet | None) -> Finding:
    applied = generation_table.applied(table.words)
    if fleet is None:
        return findings.ok(part, f"applied {applied}; the end of the ledger is not known here")
    if applied >= fleet.seq:
        return findings.ok(part, f"applied {applied}, all events")
    return findings.warning(
        part,
        f"applied {applied} of {fleet.seq}: {fleet.seq - applied} events behind",
        "A short delay is normal: run this again. If it persists, check the sidecar's log.",
    )


def _compare_with_fleet(
    part: str, greeting: Greeting, fleet: Fleet, *, leased: bool, refused: str | None
) -> Iterator[Finding]:
    """Compare what the authority reports of a sidecar with the sidecar's own answers."""
    known = fleet.instances.get(greeting.instance.hex())
    if known is None and refused is not None:
        return  # the line above reports why
    if known is None:
        yield findings.failed(
            f"{part}: fleet",
            "the authority does not know this instance",
            _ELSEWHERE if leased else _NOT_ENROLLED,
        )
        return
    if known.get("overdue"):
        yield findings.warning(
            f"{part}: heartbeat",
            "none for more than half of the lease term",
            "Run this again. If it persists, the sidecar or its link to the authority is too slow "
            "for this term: `rescind term set` sets a longer one.",
        )
    ours = version("rescind")
    if known["version"] != ours:
        yield findings.warning(
            f"{part}: version",
            f"the sidecar has version {known['version']}, this command {ours}",
            "Upgrade the older one, and restart it.",
        )
