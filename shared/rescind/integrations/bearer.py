"""The former place of `rescind.wire.bearer`. Import it from there."""

from rescind.wire.bearer import (
    RETRY_AFTER_S,
    Refusal,
    describe,
    find,
    metadata_url,
    refuse,
    required,
    unauthenticated,
)

__all__ = [
    "RETRY_AFTER_S",
    "Refusal",
    "describe",
    "find",
    "metadata_url",
    "refuse",
    "required",
    "unauthenticated",
]
