"""The decision about a call that a proxy holds, the same for HTTP and gRPC.

A proxy states what the call is, and gets a permit or a refusal. An adapter reads the call from its
protocol, and writes the Decision in its protocol. A token that this process knows is decided from
memory; only its first check asks the sidecar.
"""

from collections.abc import Collection, Coroutine
from typing import Any, NamedTuple, TypeAlias

from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, CheckRequest, Denied, Verdict
from rescind.wire import bearer
from rescind.wire.bearer import Refusal
from rescind_sidecar.data_plane.requirements import Requirements, RequirementsError


# A named tuple, because each call makes one: a frozen dataclass takes three times as long.
class Permit(NamedTuple):
    """The call may go on: the token's record, and the position that the answer covers."""

    record: Record
    as_of: int


Decision: TypeAlias = Permit | Refusal
PendingDecision: TypeAlias = Coroutine[Any, Any, Decision]


class ForwardAuth:
    """Decide about calls by their bearer tokens.

    `stale_status` is the status while there is no lease. `audiences` are the services that
    requirements may name, besides the sidecar's own. `resource_metadata` is a URL for the
    challenges (RFC 9728).
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        stale_status: int,
        audiences: Collection[str] = (),
        resource_metadata: str | None = None,
    ) -> None:
        self._verifier = verifier
        self._stale_status = stale_status
        self._audiences = frozenset(audiences)
        self._metadata = resource_metadata
        self._unauthenticated = bearer.unauthenticated(resource_metadata=resource_metadata)

    def decide(
        self, token: str | None, requirements: Requirements, address: str | None
    ) -> Decision | PendingDecision:
        """Return a decision from memory, or a coroutine that asks the sidecar.

        `token` is None without one, and empty if there are two; `address` is the caller's. Raises
        RequirementsError for an audience that this sidecar does not answer for.
        """
        if requirements.audience is not None:
            self._require_listed(requirements.audience)
        if token is None:
            return self._unauthenticated
        as_of = self._verifier.as_of
        # Separate arguments, here and above: one value would cost a twentieth of the whole answer.
        verdict = self._verifier.recall(
            token,
            require=requirements.require,
            audience=requirements.audience,
            address=address,
            min_seq=requirements.min_seq,
        )
        if isinstance(verdict, Allowed):  # without another call, which would cost a twentieth too
            record = verdict.record
            return Permit(record, max(as_of, record.as_of, requirements.min_seq))
        if verdict is None:
            return self._decide_with_sidecar(token, requirements, address)
        return self._conclude(verdict, requirements, as_of)

    def _require_listed(self, audience: str) -> None:
        if audience in self._audiences or audience == self._verifier.service:
            return
        raise RequirementsError(
            "`audience` names a service that this sidecar does not answer for. List it in "
            "RESCIND_AUDIENCES, and never hand on the caller's query."
        )

    async def _decide_with_sidecar(
        self, token: str, requirements: Requirements, address: str | None
    ) -> Decision:
        as_of = self._verifier.as_of
        verdict = await self._verifier.acheck_request(
            CheckRequest(
                token, requirements.require, requirements.audience, address, requirements.min_seq
            )
        )
        return self._conclude(verdict, requirements, as_of)

    def _conclude(self, verdict: Verdict, requirements: Requirements, as_of: int) -> Decision:
        match verdict:
            case Allowed(record):
                return Permit(record, max(as_of, record.as_of, requirements.min_seq))
            case Denied(reason):
                return bearer.refuse(
                    reason,
                    require=requirements.require,
                    stale_status=self._stale_status,
                    resource_metadata=self._metadata,
                )
