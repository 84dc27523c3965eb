"""The JetStream stream of events for auditors and late consumers. Nothing depends on it."""

import structlog
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import Error as JetStreamError

from rescind.wire import nats_subjects
from rescind_runtime.net import nats_connection

_MAX_AGE_S = 30 * 24 * 3600.0
_MAX_BYTES = 1 << 30
_DEADLINE_S = 5.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


async def ensure(client: Client) -> None:
    """Create the stream unless it exists; if JetStream is off, log that and continue."""
    config = StreamConfig(
        name=nats_subjects.STREAM,
        description="Committed revocations of rescind, as pushed to the sidecars.",
        subjects=[nats_subjects.EVENTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=_MAX_AGE_S,
        max_bytes=_MAX_BYTES,
        deny_delete=True,
        deny_purge=True,
    )
    try:
        context = client.jetstream(timeout=_DEADLINE_S)  # pyright: ignore[reportUnknownMemberType] nats-py leaves types open
        await context.add_stream(config)  # pyright: ignore[reportUnknownMemberType] the same
    except (JetStreamError, *nats_connection.UNREACHABLE_ERRORS) as error:
        _log.warning(
            "no JetStream stream for late consumers; revocations do not need it",
            action="stream.missing",
            stream=nats_subjects.STREAM,
            why=f"{type(error).__name__}: {error}",
        )
