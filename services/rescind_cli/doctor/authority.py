"""Checks of the authority: it answers, it can work, and it accepts the admin token."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rescind.client import causes
from rescind.client.admin import (
    Admin,
    AuthorityHealth,
    FleetInstance,
    ProblemError,
    TokenDetails,
)
from rescind.client.tls import LinkSecurity
from rescind.core import times
from rescind.core.secret import Secret
from rescind.errors import RescindError, UnreachableError
from rescind_cli import settings
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.output import terminal
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock, links

_TIMEOUT_S = 5.0
_SOON_DAYS = 14
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_START = "Start it with `rescind up` or `rescind authority`, or correct RESCIND_URL."
_RECOVER = "Create another on the authority's host: rescind recover admin"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The ledger's end, and each sidecar by its instance id, as the authority reports them."""

    seq: int
    instances: Mapping[str, FleetInstance]


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, and the fleet for other checks; None if it is not available."""

    found: tuple[Finding, ...]
    fleet: Fleet | None = None


def check(local: LocalSettings, data: Path | None) -> Report:
    """Check each authority, and the admin token at the first that answers.

    The token is the one that the settings hold for the authority.
    """
    urls = settings.urls(local.find("RESCIND_URL"))
    if not urls:
        return Report((findings.skipped("authority", "RESCIND_URL is not set here"),))
    try:
        security = local.security
        links.require_safe_authority(urls, local.plaintext)
    except RescindError as error:
        return Report((driver_errors.refused("authority", error),))
    results = {url: _check_url(url, security) for url in urls}
    parts = tuple(each for found, _ in results.values() for each in found)
    answers = [url for url, (_, answered) in results.items() if answered]
    if not answers:
        return Report(parts)
    try:
        token = settings.authority(url=None, data=data).token
    except RescindError as error:
        return Report((*parts, findings.warning("admin token", str(error), _RECOVER)))
    with _admin(answers[0], token, security) as admin:
        accepted = _token_finding(admin, token)
        return Report((*parts, accepted), _fleet(admin))


def _admin(url: str, token: Secret | None, security: LinkSecurity) -> Admin:
    return Admin(
        url, token, timeout_s=_TIMEOUT_S, files=security.files, plaintext=security.plaintext
    )


def _check_url(url: str, security: LinkSecurity) -> tuple[tuple[Finding, ...], bool]:
    """Return the findings at one URL, and whether an authority answers there."""
    try:
        with _admin(url, None, security) as client:
            parts = tuple(_health_findings(url, client.health()))
    except UnreachableError as error:
        cause = causes.of(error)
        place = f"nothing answers at {url}" if cause.transient else f"{url} cannot be used"
        advice = (not cause.transient and cause.advice("authority", "RESCIND_URL")) or _START
        message = f"{place}: {cause.description}"
        return (findings.failed("authority", message, advice),), False
    except RescindError as error:
        return (findings.failed("authority", str(error), "Correct RESCIND_URL."),), False
    if parts:
        return parts, True
    message = f"the server at {url} is not an authority"
    return (
        findings.failed("authority", message, "Correct RESCIND_URL: it may name a sidecar."),
    ), False


def _health_findings(url: str, health: AuthorityHealth) -> Iterator[Finding]:
    """Yield the findings of an authority's health; none if the answer is not an authority's."""
    match health:
        case {"status": str(status), "postgres": str(postgres), "nats": str(nats)}:
            pass
        case _:
            return
    authority_version, command_version = str(health.get("version", "unknown")), version("rescind")
    if status == "ready":
        yield findings.ok("authority", f"{url} is ready, version {authority_version}")
    else:
        yield findings.failed(
            "authority", f"{url} answers, but is not ready", "See the next lines."
        )
    if postgres != "ok":
        yield findings.failed(
            "authority's Postgres", postgres, "Without it, the authority cannot revoke."
        )
    if nats != "ok":
        yield findings.failed(
            "authority's NATS", nats, "Start NATS, or correct RESCIND_NATS_URL of the authority."
        )
    trust = str(health.get("trust", "ok"))  # an older authority omits it
    if trust != "ok":
        yield findings.warning(
            "authority's keys",
            f"the trust statement: {trust}",
            "With the root key (RESCIND_ROOT_KEY_FILE) on the authority's host: rescind keys renew",
        )
    if authority_version != command_version:
        yield findings.warning(
            "versions",
            f"the authority has version {authority_version}, this command {command_version}",
            "Upgrade the older one.",
        )


def _token_finding(admin: Admin, token: Secret) -> Finding:
    try:
        details = admin.presented(token)
    except ProblemError as error:
        if error.status == _UNAUTHORIZED:
            return findings.failed("admin token", str(error), _RECOVER)
        if error.status == _FORBIDDEN:
            return findings.warning(
                "admin token",
                f"accepted; {error}",
                "It cannot read: use it only to issue or revoke.",
            )
        return findings.failed("admin token", str(error), "See the lines of the authority above.")
    except RescindError as error:
        return findings.failed("admin token", str(error), "See the lines of the authority above.")
    return _expiry_finding(details)


def _expiry_finding(details: TokenDetails) -> Finding:
    now_us = clock.wall_us()
    ends = terminal.ago(details["expires_at"], now_us=now_us)
    scopes = " ".join(details["scopes_left"])
    message = f"{details['subject']} with {scopes}, ends {ends} ({details['token_id']})"
    left_s = times.parse_rfc3339(details["expires_at"]) / 1e6 - now_us / 1e6
    if left_s < _SOON_DAYS * 86_400:
        return findings.warning(
            "admin token", message, "Create another before it ends: rescind recover admin"
        )
    return findings.ok("admin token", message)


def _fleet(admin: Admin) -> Fleet | None:
    try:
        fleet = admin.fleet(ended=True)
    except RescindError:
        return None  # the lines above report why
    return Fleet(fleet["seq"], {each["instance"]: each for each in fleet["instances"]})
