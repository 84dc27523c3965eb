"""A decorator for jobs of arq, which run under a token and end with it.

    from rescind.integrations.arq import job_arguments, requires

    @requires("reports:write")
    async def write_report(ctx, month):
        return ctx["rescind"].subject

    await pool.enqueue_job("write_report", "2026-11", **job_arguments(record))

The job carries the SHA-256 of the token, which is not a secret, and never the token. `record` is
what a check returned: `request.state.rescind`, or the record of `verifier.acheck`.

A job whose token is denied does not begin, and fails with DeniedError. Without a lease, arq tries
it again. A job that runs is cancelled where it stands. It fails with DeniedError too.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from rescind.client.holds.hold import Hold
from rescind.core.record import Record
from rescind.core.verdict import NOT_JUDGED, Reason
from rescind.errors import DeniedError, UnreachableError
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.extras import needing
from rescind.integrations.guard import Requirement

with needing("arq", "arq"):
    from arq import Retry

__all__ = ["job_arguments", "requires"]

_ARGUMENT = "rescind_token_hash"
_Context = dict[str, Any]
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Job = Callable[Concatenate[_Context, _Parameters], Awaitable[_Result]]


def job_arguments(record: Record) -> dict[str, Any]:
    """Return the argument for a job that runs under the token of this record."""
    return {_ARGUMENT: record.token_hash.hex()}


def requires(
    *scopes: str,
    audience: str | None = None,
    no_lease_delay: float = 5.0,
    verifier: Checking | Attachment | None = None,
) -> Callable[[_Job[_Parameters, _Result]], Callable[..., Awaitable[_Result]]]:
    """Return a decorator for jobs whose token needs these scopes.

    `audience` None means the sidecar's service. Without a lease, the job is tried again after
    `no_lease_delay` seconds. `verifier` is attached to the sidecar that the environment names,
    unless it is given. Raises ScopeError for an invalid scope.
    """
    requirement = Requirement.parse(scopes, audience=audience)
    attachment = Attachment.of(verifier)

    def decorate(job: _Job[_Parameters, _Result]) -> Callable[..., Awaitable[_Result]]:
        @wraps(job)
        async def held(
            ctx: _Context, *args: Any, rescind_token_hash: object = None, **kwargs: Any
        ) -> _Result:
            async with AsyncExitStack() as stack:
                try:
                    hold = await _find_hold(attachment, requirement, rescind_token_hash)
                    record = await stack.enter_async_context(hold)
                except DeniedError as denied:
                    if denied.reason in NOT_JUDGED:
                        raise Retry(defer=no_lease_delay) from denied
                    raise
                return await job({**ctx, "rescind": record}, *args, **kwargs)

        return held

    return decorate


async def _find_hold(attachment: Attachment, requirement: Requirement, text: object) -> Hold:
    """Return the hold of a job. Raises DeniedError if there cannot be one."""
    if text is None:
        raise DeniedError(Reason.MISSING)
    try:
        token_hash = bytes.fromhex(str(text))
        verifier = await attachment.verifier()
        return verifier.hold_by_hash(
            token_hash, require=requirement.scopes, audience=requirement.audience
        )
    except ValueError:
        raise DeniedError(Reason.MALFORMED) from None
    except UnreachableError:
        raise DeniedError(Reason.UNAVAILABLE) from None
