"""What runs in the workload: ask the sidecar once, then check against its table.

`Admin` commands the authority, `Bearer` hands a part of a token's power on, and both have an
`Async…` twin; they are imported when they are used, because they need the extra `admin`, and a
workload that only checks does not.
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
