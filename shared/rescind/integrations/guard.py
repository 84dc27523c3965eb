"""The check at the beginning of a call, for the middleware and decorators of every framework."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from rescind.client.holds.hold import Hold
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import UnreachableError
from rescind.integrations.attachment import Attachment, Checking
from rescind.wire import bearer
from rescind.wire.bearer import Refusal

Headers = Iterable[tuple[bytes, bytes]]


def open_paths(exempt: Collection[str]) -> frozenset[str]:
    """Return the paths that need no token. Raises ValueError for a single text.

    The characters of `/healthz` would be paths, and the first one is the path of the first page.
    """
    if isinstance(exempt, str):
        raise ValueError("`exempt` is a collection of paths: put the one into a list")  # noqa: TRY004 like every other wrong value of it
    return frozenset(exempt)


@dataclass(frozen=True, slots=True)
class Requirement:
    """The requirements of calls: scopes, the audience, and where clients learn to get a token.

    `audience` None means the sidecar's service. `resource_metadata` is the URL of the resource's
    metadata (RFC 9728), for the challenges.
    """

    scopes: frozenset[str] = frozenset()
    audience: str | None = None
    resource_metadata: str | None = None

    @classmethod
    def parse(
        cls,
        scopes: Collection[str] = (),
        *,
        audience: str | None = None,
        resource_metadata: str | None = None,
    ) -> Self:
        """Return valid requirements. Raises ScopeError, and ValueError for an invalid URL."""
        return cls(bearer.required(scopes), audience, bearer.metadata_url(resource_metadata))


@dataclass(frozen=True, slots=True)
class Guard:
    """A requirement, and the verifier that checks calls for it.

    The methods take the headers of a request with names in any case, and the caller's address as
    the server reports it. They return the refusal of a call that cannot be checked.
    """

    attachment: Attachment
    requirement: Requirement

    def check(self, headers: Headers, address: str | None) -> Record | Refusal:
        """Return the record of a good token, or the refusal of the call."""
        token = bearer.find(headers)
        if token is None:
            return self.refuse(Reason.MISSING)
        try:
            verifier = self.attachment.attach()
        except UnreachableError:
            return self.refuse(Reason.UNAVAILABLE)
        needed = self.requirement
        return self._apply(
            verifier.check(token, require=needed.scopes, audience=needed.audience, address=address)
        )

    async def acheck(self, headers: Headers, address: str | None) -> Record | Refusal:
        """Return the record of a good token, or the refusal of the call."""
        token = bearer.find(headers)
        if token is None:
            return self.refuse(Reason.MISSING)
        try:
            verifier = await self.attachment.verifier()
        except UnreachableError:
            return self.refuse(Reason.UNAVAILABLE)
        needed = self.requirement
        return self._apply(
            await verifier.acheck(
                token, require=needed.scopes, audience=needed.audience, address=address
            )
        )

    def hold(self, headers: Headers, address: str | None) -> Hold | Refusal:
        """Return a hold that the caller enters in this thread, or the refusal of the call."""
        token = bearer.find(headers)
        if token is None:
            return self.refuse(Reason.MISSING)
        try:
            return self._hold(self.attachment.attach(), token, address)
        except UnreachableError:
            return self.refuse(Reason.UNAVAILABLE)

    async def ahold(self, headers: Headers, address: str | None) -> Hold | Refusal:
        """Return a hold that the caller enters with `async with`, or the refusal of the call."""
        token = bearer.find(headers)
        if token is None:
            return self.refuse(Reason.MISSING)
        try:
            return self._hold(await self.attachment.verifier(), token, address)
        except UnreachableError:
            return self.refuse(Reason.UNAVAILABLE)

    def refuse(self, reason: Reason) -> Refusal:
        """Return the refusal of a call, and log it if the sidecar causes it."""
        self.attachment.note(reason)
        needed = self.requirement
        return bearer.refuse(
            reason, require=needed.scopes, resource_metadata=needed.resource_metadata
        )

    def _apply(self, verdict: Verdict) -> Record | Refusal:
        match verdict:
            case Allowed(record):
                return record
            case Denied(reason):
                return self.refuse(reason)

    def _hold(self, verifier: Checking, token: str, address: str | None) -> Hold:
        needed = self.requirement
        return verifier.hold(
            token, require=needed.scopes, audience=needed.audience, address=address
        )
