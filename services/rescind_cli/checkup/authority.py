"""The authority: does it answer, can it work, does it accept our admin token, whom does it know?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rescind.client.admin import Admin, Document, ProblemError
from rescind.core.secret import Secret
from rescind.errors import RescindError, UnreachableError
from rescind_cli import render, settings
from rescind_cli.checkup import drivers, findings
from rescind_cli.checkup.findings import Finding
from rescind_cli.settings import Surroundings
from rescind_runtime import clock

_TIMEOUT_S = 5.0
_SOON_DAYS = 14
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_START = "Start it: `rescind up`, or `rescind authority`; or correct RESCIND_URL."
_RECOVER = "On the authority's host, make another: rescind recover admin"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the authority says of the ledger's end, and of each sidecar by its instance id."""

    seq: int
    instances: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what other checks need of it: None where it cannot be had."""

    found: tuple[Finding, ...]
    fleet: Fleet | None = None


def check(here: Surroundings, data: Path | None) -> Report:
    """Ask the authority, with the admin token that is meant for it."""
    url = settings.first(here.find("RESCIND_URL"))
    if url is None:
        return Report((findings.skipped("authority", "RESCIND_URL is not set here"),))
    try:
        with Admin(url, None, timeout_s=_TIMEOUT_S) as anybody:
            parts = tuple(_parts(url, anybody.health()))
    except UnreachableError as error:
        says = f"nobody answers at {url}: {drivers.reason(error)}"
        return Report((findings.failed("authority", says, _START),))
    except RescindError as error:
        return Report((findings.failed("authority", str(error), "Correct RESCIND_URL."),))
    if not parts:
        says = f"what answers at {url} is no authority"
        advice = "Correct RESCIND_URL: is it a sidecar's?"
        return Report((findings.failed("authority", says, advice),))
    try:
        token = settings.authority(url=None, data=data).token
    except RescindError as error:
        return Report((*parts, findings.warning("admin token", str(error), _RECOVER)))
    with Admin(url, token, timeout_s=_TIMEOUT_S) as admin:
        accepted = _token(admin, token)
        return Report((*parts, accepted), _fleet(admin))


def _parts(url: str, health: Document) -> Iterator[Finding]:
    """Read what it says of itself; nothing of what is no authority."""
    match health:
        case {"status": str(status), "postgres": str(postgres), "nats": str(nats)}:
            pass
        case _:
            return
    theirs, ours = str(health.get("version", "unknown")), version("rescind")
    if status == "ready":
        yield findings.ok("authority", f"{url} is ready, version {theirs}")
    else:
        yield findings.failed("authority", f"{url} answers, and cannot work", "See the next lines.")
    if postgres != "ok":
        yield findings.failed("authority's Postgres", postgres, "Without it nothing is revoked.")
    if nats != "ok":
        yield findings.failed(
            "authority's NATS", nats, "Start NATS, or correct RESCIND_NATS_URL of the authority."
        )
    if theirs != ours:
        yield findings.warning(
            "versions", f"the authority is {theirs}, this command {ours}", "Upgrade the older one."
        )


def _token(admin: Admin, token: Secret) -> Finding:
    try:
        seen = admin.presented(token)
    except ProblemError as error:
        if error.status == _UNAUTHORIZED:
            return findings.failed("admin token", str(error), _RECOVER)
        if error.status == _FORBIDDEN:
            return findings.warning(
                "admin token", f"accepted; {error}", "It cannot look: use it to issue or revoke."
            )
        return findings.failed("admin token", str(error), "See the authority's own lines above.")
    except RescindError as error:
        return findings.failed("admin token", str(error), "See the authority's own lines above.")
    return _standing(seen)


def _standing(seen: Document) -> Finding:
    now_us = clock.wall_us()
    ends = render.ago(seen["expires_at"], now_us=now_us)
    scopes = " ".join(seen["scopes_left"])
    says = f"{seen['subject']} with {scopes}, ends {ends} ({seen['token_id']})"
    left_s = render.unix_us(seen["expires_at"]) / 1e6 - now_us / 1e6
    if left_s < _SOON_DAYS * 86_400:
        return findings.warning(
            "admin token", says, "Make the next one in time: rescind recover admin"
        )
    return findings.ok("admin token", says)


def _fleet(admin: Admin) -> Fleet | None:
    try:
        fleet = admin.fleet()
    except RescindError:
        return None  # the lines above say why
    return Fleet(fleet["seq"], {each["instance"]: each for each in fleet["instances"]})
