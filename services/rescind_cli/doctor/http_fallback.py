"""Checks of the sidecars' fallback: an authority answers over HTTP as it does over NATS."""

from collections.abc import Iterator

import httpx2

from rescind.errors import RescindError
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock, links

_REQUEST = signed_envelope.encode(SignedEnvelope(b"", bytes(heartbeat.INSTANCE_BYTES)))
"""A request of an unknown instance. An authority that has read its ledger answers ENROL_AGAIN."""

_PART = "authority over http"
_TIMEOUT_S = 5.0
_OK, _EMPTY = 200, 204


def check(local: LocalSettings) -> Iterator[Finding]:
    """Check each authority of RESCIND_URL, over HTTP as a sidecar does while NATS fails."""
    urls = [part.strip() for part in (local.find("RESCIND_URL") or "").split(",") if part.strip()]
    if not urls:
        yield findings.skipped(
            _PART, "RESCIND_URL is not set here: a sidecar without it can only use NATS"
        )
        return
    try:
        links.require_safe_authority(urls, local.plaintext)
        secured = any(url.startswith("https:") for url in urls)
        verify = local.files("authority").client() if secured else False
    except RescindError:
        yield findings.skipped(_PART, "not checked: see the lines of the authority above")
        return
    with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False, verify=verify) as client:
        for url in urls:
            yield _check_url(client, url)


def _check_url(client: httpx2.Client, url: str) -> Finding:
    before_ns = clock.boottime_ns()
    try:
        answer = client.post(
            f"{url.rstrip('/')}{nats_subjects.path(nats_subjects.SINCE)}", content=_REQUEST
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        message = f"{driver_errors.place(url)} cannot be used: {driver_errors.reason(error)}"
        usual = "Start it, or correct RESCIND_URL."
        return findings.failed(
            _PART, message, driver_errors.advice(error, "authority", "RESCIND_URL", usual)
        )
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    if answer.status_code not in {_OK, _EMPTY}:
        return findings.failed(
            _PART,
            f"{driver_errors.place(url)} answers {answer.status_code} to a sidecar's request",
            "Check that it is an authority of this version, and that each proxy forwards /link/.",
        )
    return _answer_finding(answer.content, took_ms)


def _answer_finding(payload: bytes, took_ms: float) -> Finding:
    if not payload:
        return findings.failed(
            _PART, "it cannot answer now", "Its Postgres is probably unreachable: see its /readyz."
        )
    if payload != heartbeat.ENROL_AGAIN:
        message = "the server is not an authority of this version"
        return findings.failed(_PART, message, "Run the same version on both sides.")
    return findings.ok(_PART, f"answers in {took_ms:.1f} ms; sidecars use it while NATS fails")
