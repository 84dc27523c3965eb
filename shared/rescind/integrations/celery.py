"""A base class for tasks of Celery, which run under a token and end with it.

    from rescind.integrations.celery import RescindTask, job_headers

    @app.task(base=RescindTask, bind=True, require={"reports:write"})
    def write_report(self, month):
        return self.record.subject

    write_report.apply_async(["2026-11"], headers=job_headers(record))

The message carries the SHA-256 of the token, which is not a secret, and never the token. `record`
is what a check returned: `request.state.rescind`, `g.rescind`, or that of `verifier.check`.

A task whose token is denied does not begin, and fails with DeniedError. Without a lease, it is sent
again after `no_lease_delay` seconds. A task that runs is interrupted. It ends with DeniedError too.
"""

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from rescind.client.holds.hold import Hold, ThreadHold
from rescind.client.holds.interruption import run_interruptibly
from rescind.core.record import Record
from rescind.core.verdict import NOT_JUDGED, Reason
from rescind.errors import DeniedError, UnreachableError
from rescind.integrations.attachment import Attachment
from rescind.integrations.extras import needing
from rescind.wire import bearer

with needing("celery", "celery"):
    from celery import Celery, Task
    from celery.exceptions import Retry

if TYPE_CHECKING:
    _Task = Task[..., Any]
else:
    _Task = Task  # only its stubs are generic

__all__ = ["RescindTask", "job_headers"]

_HEADER = "rescind_token_hash"
_HOLD = "rescind_hold"


def job_headers(record: Record) -> dict[str, str]:
    """Return the headers for the message of a task that runs under the token of this record."""
    return {_HEADER: record.token_hash.hex()}


class RescindTask(_Task):
    """A task that needs a good token to begin, and is interrupted when its token is denied.

    `require` are the scopes that the token needs. `audience` None means the sidecar's service.
    `attachment` has the verifier: that of the sidecar which the environment names, or in a test
    `Attachment(FakeVerifier())`.
    """

    abstract = True
    throws = (DeniedError,)
    require: Collection[str] = ()
    audience: str | None = None
    no_lease_delay: float = 5.0
    attachment = Attachment(None)

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Validate the scopes when the application starts. Raises ScopeError."""
        super().on_bound(app)
        cls.require = bearer.required(cls.require)

    @property
    def hold(self) -> ThreadHold:
        """Return the hold of the task that runs: a loop in C can look at its `revoked`."""
        return cast("ThreadHold", self.request.get(_HOLD))

    @property
    def record(self) -> Record:
        """Return the record of the token under which the task runs."""
        return self.hold.record

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task under its token. Raises DeniedError, or Retry while there is no lease."""
        with ExitStack() as stack:
            try:
                held = stack.enter_context(self._find_hold())
            except DeniedError as denied:
                if denied.reason not in NOT_JUDGED or self.request.is_eager:
                    raise
                raise self._send_again(denied) from denied
            self.request.update({_HOLD: held})
            return run_interruptibly(held, lambda: self.run(*args, **kwargs))

    def _find_hold(self) -> Hold:
        text = (self.request.headers or {}).get(_HEADER)
        if text is None:
            raise DeniedError(Reason.MISSING)
        try:
            token_hash = bytes.fromhex(text)
            verifier = self.attachment.attach()
            return verifier.hold_by_hash(token_hash, require=self.require, audience=self.audience)
        except (TypeError, ValueError):
            raise DeniedError(Reason.MALFORMED) from None
        except UnreachableError:
            raise DeniedError(Reason.UNAVAILABLE) from None

    def _send_again(self, denied: DeniedError) -> Retry:
        """Send the message again for later. It counts as no retry of the task itself."""
        delay_s: Any = self.no_lease_delay  # a `numbers.Real` for the stubs, which float is not
        retries = self.request.retries
        message = self.signature_from_request(countdown=delay_s, retries=retries)
        message.apply_async()
        return Retry(exc=denied, when=delay_s, sig=message)
