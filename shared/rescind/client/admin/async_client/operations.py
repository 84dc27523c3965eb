"""Calls about the system: sidecars, the lease term, health, and the stream of events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from rescind.client.admin import adapter, calls
from rescind.client.admin.async_client.connection import AsyncAuthorityConnection
from rescind.client.admin.receipts import LedgerEvent
from rescind.client.admin.responses.operations import (
    AuthorityHealth,
    EvictedInstance,
    FleetDetails,
    LeaseTerm,
)
from rescind.errors import UnreachableError


class AsyncOperationCalls(AsyncAuthorityConnection):
    """The calls of an administrator about the system."""

    async def fleet(self, *, ended: bool = False) -> FleetDetails:
        """List the sidecars, and what each has acknowledged.

        Args:
            ended: True: list those too that ended in the last hour.

        Returns:
            The end of the ledger, and the instances.

        Raises:
            ProblemError: This token lacks `rescind:read` (403).
            UnreachableError: No authority answers.
        """
        return await self._send(calls.fleet(ended))

    async def evict(self, instance: str, *, reason: str = "") -> EvictedInstance:
        """End a sidecar's instance for good. A repeat changes nothing.

        Its process may enrol a new instance: to keep a service out, revoke its credential.

        Args:
            instance: The id of the instance: 32 hexadecimal digits.
            reason: The reason, for the audit trail.

        Returns:
            The instance, and the latest end of its last lease.

        Raises:
            ProblemError: There is no such instance (404).
            UnreachableError: No authority answers.
        """
        return await self._send(calls.evict(instance, reason))

    async def term(self) -> LeaseTerm:
        """Return the lease term, and how far a change of it is.

        Returns:
            The terms in milliseconds.

        Raises:
            ProblemError: This token lacks `rescind:admin` (403).
            UnreachableError: No authority answers.
        """
        return await self._send(calls.term())

    async def set_term(self, term_ms: int) -> LeaseTerm:
        """Request another lease term.

        Args:
            term_ms: The lease term, in milliseconds.

        Returns:
            The terms as they are now. The change is complete once `settled` is true.

        Raises:
            ProblemError: The term is out of range (422), or this token lacks `rescind:admin` (403).
            UnreachableError: No authority answers.
        """
        return await self._send(calls.set_term(term_ms))

    async def health(self) -> AuthorityHealth:
        """Return whether the authority can do its work.

        Returns:
            The state of each part; also where `status` is `unavailable`.

        Raises:
            UnreachableError: No authority answers.
        """
        return await self._send(calls.health())

    async def events(self, *, after: int | None = None) -> AsyncGenerator[LedgerEvent]:
        """Iterate over events as they are committed, without an end.

        A stream that breaks is resumed after the last event that came.

        Args:
            after: The seq after which to begin; None: with the next event.

        Yields:
            Each event, once and in the order of the ledger.

        Raises:
            ProblemError: This token is not accepted (401), or lacks `rescind:read` (403).
            UnreachableError: No authority answered for a minute.
        """
        if after is None:
            after = calls.newest_seq(await self._send(calls.revocations({}, None)))
        failures = 0
        while True:
            try:
                async with aclosing(self._stream(after)) as stream:
                    async for seq, event in stream:
                        after, failures = seq, 0
                        yield event
            except UnreachableError:
                self._try_next(self._url)
                failures += 1
                if failures > adapter.MAX_REOPENS:
                    raise
            await asyncio.sleep(adapter.RETRY_S)

    async def _stream(self, after: int) -> AsyncGenerator[tuple[int, LedgerEvent]]:
        request = adapter.stream(after)
        with adapter.translated(self._url):
            async with self._http().sse(**request) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    raise adapter.refusal(source.response)
                async for sent in source:
                    if sent.data:
                        seq, event = adapter.event(sent)
                        yield seq, cast("LedgerEvent", event)
