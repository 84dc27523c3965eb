"""Checks of NATS: reachable, fast and new enough, with JetStream and a listening authority."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING

from rescind.errors import RescindError
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock, logs
from rescind_runtime.links import NatsLink

if TYPE_CHECKING:  # imported where it is installed and needed
    from nats.aio.client import Client

_PART = "nats"
_OLDEST = (2, 10)
_REQUEST_S = 2.0
_SLOW_MS = 20.0
_CORRECT = "Start NATS, or correct RESCIND_NATS_URL. Until then revocations arrive with heartbeats."


def check(local: LocalSettings) -> list[Finding]:
    """Check the server that RESCIND_NATS_URL names."""
    try:
        url = local.secret("RESCIND_NATS_URL")
    except RescindError as error:
        return [findings.failed(_PART, str(error), "Correct RESCIND_NATS_URL_FILE.")]
    if url is None:
        return [findings.skipped(_PART, "RESCIND_NATS_URL is not set here")]
    if (absent := driver_errors.missing(_PART, "nats")) is not None:
        return [absent]
    link = replace(
        NatsLink.read(url),
        files=local.files("nats"),
        creds=local.path("RESCIND_NATS_CREDS_FILE"),
        nkey=local.path("RESCIND_NATS_NKEY_FILE"),
    )
    try:
        link.require_safe(local.plaintext)
        return asyncio.run(_check_server(link))
    except RescindError as error:
        return [driver_errors.refused(_PART, error)]


async def _check_server(link: NatsLink) -> list[Finding]:
    from nats.errors import Error  # noqa: PLC0415 - only where a service is installed

    where = ", ".join(driver_errors.place(url) for url in link.urls)
    failures: list[Exception] = []
    try:
        async with (
            asyncio.timeout(2 * driver_errors.DEADLINE_S),
            _connect(link, failures) as client,
        ):
            return [
                await _check_round_trip(client, where),
                await _check_stream(client),
                await _check_authority(client),
            ]
    except (Error, OSError, TimeoutError, ValueError) as error:
        # The last error of nats-py contains less than those that it reported before.
        found = failures[0] if failures else error
        message = f"{where} cannot be used: {driver_errors.reason(found)}"
        advice = driver_errors.advice(found, "nats", "RESCIND_NATS_URL", _CORRECT)
        return [findings.failed(_PART, message, advice)]


@contextlib.asynccontextmanager
async def _connect(link: NatsLink, failures: list[Exception]) -> AsyncGenerator["Client"]:
    from rescind_runtime.net import nats_client  # noqa: PLC0415 - the same

    async def note(error: Exception) -> None:
        failures.append(error)

    logging.getLogger("asyncio").addFilter(logs.is_news)  # nats-py over TLS is noisy

    client = nats_client.client(link)
    await client.connect(  # pyright: ignore[reportUnknownMemberType] its options are untyped
        **nats_client.options(link),
        name="rescind-doctor",
        allow_reconnect=False,
        max_reconnect_attempts=0,
        connect_timeout=2,
        error_cb=note,
    )
    try:
        yield client
    finally:
        # nats-py raises TypeError or ConnectionResetError from close() if the server closed first.
        with contextlib.suppress(OSError, TypeError, TimeoutError):
            await client.close()


async def _check_round_trip(client: "Client", where: str) -> Finding:
    version = client.connected_server_version
    before_ns = clock.boottime_ns()
    await client.flush(timeout=2)
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    message = f"{where}, version {version.major}.{version.minor}.{version.patch}, {took_ms:.1f} ms"
    if (version.major, version.minor) < _OLDEST:
        return findings.failed(_PART, f"{message} is too old", "Upgrade to NATS 2.10 or newer.")
    if took_ms > _SLOW_MS:
        return findings.warning(
            _PART,
            f"{message} for a round trip",
            "Each revocation is sent over NATS: move NATS closer, or check its load.",
        )
    return findings.ok(_PART, message)


async def _check_stream(client: "Client") -> Finding:
    from nats.js.errors import Error, NotFoundError  # noqa: PLC0415 - the same

    try:
        context = client.jetstream(timeout=_REQUEST_S)  # pyright: ignore[reportUnknownMemberType] nats-py leaves types open
        stream = await context.stream_info(nats_subjects.STREAM)
    except NotFoundError:
        return findings.warning(
            "jetstream",
            f"there is no stream {nats_subjects.STREAM}",
            "An authority creates it when it connects: start one. Only auditors need the stream.",
        )
    except (Error, TimeoutError) as error:
        return findings.warning(
            "jetstream",
            f"JetStream does not answer ({driver_errors.reason(error)})",
            "Enable it if auditors or late consumers need the events. No other part needs it.",
        )
    return findings.ok(
        "jetstream", f"{nats_subjects.STREAM}, {stream.state.messages} batches of events"
    )


async def _check_authority(client: "Client") -> Finding:
    from nats.errors import Error, NoRespondersError  # noqa: PLC0415 - the same

    # An unknown instance without a secret: an authority answers ENROL_AGAIN, and changes nothing.
    unknown_instance = SignedEnvelope(b"", bytes(heartbeat.INSTANCE_BYTES))
    part, request = "authority over nats", signed_envelope.encode(unknown_instance)
    before_ns = clock.boottime_ns()
    try:
        answer = await client.request(nats_subjects.SINCE, request, timeout=_REQUEST_S)
    except NoRespondersError:
        return findings.failed(
            part,
            "no authority is connected to this NATS server",
            "Start one, or give authority and sidecars the same RESCIND_NATS_URL.",
        )
    except (Error, TimeoutError) as error:
        message = f"an authority is connected, but does not answer ({driver_errors.reason(error)})"
        return findings.failed(part, message, "Check its log and its Postgres.")
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    if not answer.data:
        return findings.failed(
            part, "it cannot answer now", "Its Postgres is probably unreachable: see its /readyz."
        )
    if answer.data != heartbeat.ENROL_AGAIN:
        message = "the server is not an authority of this version"
        return findings.failed(part, message, "Run the same version on both sides.")
    return findings.ok(part, f"answers in {took_ms:.1f} ms")
