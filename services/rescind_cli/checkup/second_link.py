"""The sidecars' second way to an authority: does it answer over HTTP what it answers over NATS?"""

from collections.abc import Iterator

import httpx2

from rescind.errors import MalformedMessageError
from rescind.wire import records, subjects
from rescind_cli.checkup import drivers, findings
from rescind_cli.checkup.findings import Finding
from rescind_cli.settings import Surroundings
from rescind_runtime import clock

_QUESTION = records.encode_resolve(records.Resolve(bytes(32)))
"""A look-up of a token that cannot be: anybody may ask it, and the answer comes from Postgres."""

_PART = "authority over http"
_TIMEOUT_S = 5.0
_OK, _EMPTY = 200, 204


def check(here: Surroundings) -> Iterator[Finding]:
    """Ask each authority that RESCIND_URL names as a sidecar would while NATS fails."""
    urls = [part.strip() for part in (here.find("RESCIND_URL") or "").split(",") if part.strip()]
    if not urls:
        yield findings.skipped(
            _PART, "RESCIND_URL is not set here: a sidecar without it has NATS alone"
        )
    with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
        for url in urls:
            yield _ask(client, url)


def _ask(client: httpx2.Client, url: str) -> Finding:
    before_ns = clock.boottime_ns()
    try:
        answer = client.post(
            f"{url.rstrip('/')}{subjects.path(subjects.RESOLVE)}", content=_QUESTION
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        says = f"{drivers.place(url)} cannot be used: {drivers.reason(error)}"
        return findings.failed(_PART, says, "Start it, or correct RESCIND_URL.")
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    if answer.status_code not in {_OK, _EMPTY}:
        return findings.failed(
            _PART,
            f"{drivers.place(url)} answers {answer.status_code} to what a sidecar asks",
            "Is it an authority, of this version, and does a proxy before it let /link/ pass?",
        )
    return _judge(answer.content, took_ms)


def _judge(payload: bytes, took_ms: float) -> Finding:
    if not payload:
        return findings.failed(
            _PART, "it cannot answer now", "Most likely its Postgres is away: see its /readyz."
        )
    try:
        resolved = records.decode_resolved(payload)
    except MalformedMessageError as error:
        return findings.failed(_PART, str(error), "Let both sides run the same version.")
    says = f"answers in {took_ms:.1f} ms, epoch {resolved.epoch}; sidecars use it while NATS fails"
    return findings.ok(_PART, says)
