"""The clients of the SDK, in a workload: ask the sidecar once, then check against its table.

`Admin` commands the authority, and `Bearer` delegates a token. Both have an `Async…` variant. They
are imported on first use, because they need the extra `admin`, which a workload that only checks
tokens does not need.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescind.client.admin import Admin, AsyncAdmin, AsyncBearer, Bearer

__all__ = ["Admin", "AsyncAdmin", "AsyncBearer", "Bearer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rescind.client import admin  # noqa: PLC0415 - see above

    return getattr(admin, name)
