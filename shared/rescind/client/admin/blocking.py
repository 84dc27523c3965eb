"""The clients for threads: an administrator's, and any token's."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx2

from rescind.client.admin import calls, link, settings
from rescind.client.admin.calls import (
    Call,
    Command,
    Document,
    Grant,
    Issued,
    Manner,
    Portion,
    Renewal,
)
from rescind.client.admin.receipts import Enforcement, Receipt
from rescind.core.secret import Secret
from rescind.errors import UnreachableError

T = TypeVar("T")


class _Connection:
    """Call the authority at a URL as the bearer of a token; connect with the first call."""

    def __init__(
        self, url: str, token: Secret | None, *, timeout_s: float = link.TIMEOUT_S
    ) -> None:
        self._url = url
        self._token = token
        self._timeout_s = timeout_s
        self._client: httpx2.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _send(self, call: Call[T]) -> T:
        with link.translated(self._url, key=call.key):
            response = self._http().request(**link.arguments(call))
        return link.answer(call, response)

    def _http(self) -> httpx2.Client:
        if self._client is None:
            options = link.options(self._url, self._token, timeout_s=self._timeout_s)
            self._client = httpx2.Client(**options)
        return self._client


class Admin(_Connection):
    """Command the authority at a URL, as the bearer of an admin token.

    Every call raises ProblemError when it is refused and UnreachableError when nobody answers;
    a command also raises OutcomeUnknownError, with the key under which to send it again.
    """

    @classmethod
    def from_environment(cls) -> Self:
        """Take RESCIND_URL, and RESCIND_ADMIN_TOKEN or RESCIND_ADMIN_TOKEN_FILE."""
        return cls(settings.url(), settings.admin_token())

    def issue(self, *, idempotency_key: str | None = None, **grant: Unpack[Grant]) -> Issued:
        """Issue a token. Its secret is in this answer and nowhere else."""
        return self._send(calls.issue(grant, idempotency_key))

    def token(self, token_id: str) -> Document:
        """Look at one token."""
        return self._send(calls.token(token_id))

    def presented(self, token: Secret) -> Document:
        """Look at the very token, for whoever holds it and knows no name of it."""
        return self._send(calls.presented(token))

    def tokens(self, **filters: str | Sequence[str]) -> Iterator[Document]:
        """Go through the tokens that the filters leave, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self._send(calls.tokens(filters, cursor))
            yield from page.entries
            if (cursor := page.cursor) is None:
                return

    def count_tokens(self, **filters: str | Sequence[str]) -> Document:
        """Count the tokens that the filters leave: `count`, an estimate unless `exact` is true."""
        return self._send(calls.count_tokens(filters))

    def tree(self, token_id: str, *, depth: int = 3, children: int = 20) -> Document:
        """Look at a token, those above it, and some generations of what was delegated from it."""
        return self._send(calls.tree(token_id, depth, children))

    def children(self, token_id: str) -> Iterator[Document]:
        """Go through what was delegated from a token directly, oldest first, page by page."""
        cursor: str | None = None
        while True:
            page = self._send(calls.children(token_id, cursor))
            yield from page.entries
            if (cursor := page.cursor) is None:
                return

    def rotate(
        self, token_id: str, *, idempotency_key: str | None = None, **renewal: Unpack[Renewal]
    ) -> Issued:
        """Give a token a new secret under the same grant: it is in this answer and nowhere else."""
        return self._send(calls.rotate(token_id, renewal, idempotency_key))

    def expire(
        self,
        token_id: str,
        *,
        at: str | None = None,
        idempotency_key: str | None = None,
        **manner: Unpack[Manner],
    ) -> Document:
        """End a token now, or at a time (RFC 3339) before its end."""
        return self._send(calls.expire(token_id, at, manner, idempotency_key))

    def expire_each(
        self,
        token_ids: Sequence[str],
        *,
        at: str | None = None,
        reason: str = "",
        idempotency_key: str | None = None,
    ) -> Document:
        """End up to 1,000 tokens in one call; `outcomes` has what became of each."""
        return self._send(calls.expire_each(token_ids, at, reason, idempotency_key))

    def revoke(
        self, *selector: str, idempotency_key: str | None = None, **command: Unpack[Command]
    ) -> Document:
        """Revoke every token that has all of these handles; returns once the ledger has it."""
        return self._send(calls.revoke(selector, command, idempotency_key))

    def revoke_each(
        self,
        deeds: Sequence[calls.Deed],
        *,
        idempotency_key: str | None = None,
        **answer: Unpack[calls.Answer],
    ) -> Document:
        """Carry out up to 1,000 commands in one call; `outcomes` has what became of each."""
        return self._send(calls.revoke_each(deeds, answer, idempotency_key))

    def revoke_token(
        self, token: Secret, *, idempotency_key: str | None = None, **command: Unpack[Command]
    ) -> Document:
        """Revoke the very token, for whoever holds it and knows no name of it."""
        return self._send(calls.revoke_token(token, command, idempotency_key))

    def suspend(
        self, *selector: str, idempotency_key: str | None = None, **command: Unpack[Command]
    ) -> Document:
        """Hold every token that has all of these handles, whenever issued, until it is lifted."""
        return self._send(calls.suspend(selector, command, idempotency_key))

    def narrow(
        self,
        *selector: str,
        remove: Sequence[str],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> Document:
        """Take scopes from every token that has all of these handles, until it is lifted."""
        return self._send(calls.narrow(selector, remove, command, idempotency_key))

    def kill(
        self, subject: str, *, idempotency_key: str | None = None, **command: Unpack[Command]
    ) -> Document:
        """End all that speaks for a subject, and let it have nothing new until this is lifted."""
        return self._send(calls.kill(subject, command, idempotency_key))

    def lift(
        self, revocation_id: str, *, idempotency_key: str | None = None, **manner: Unpack[Manner]
    ) -> Document:
        """End a suspension or a narrowing; what something else holds stays held."""
        return self._send(calls.lift(revocation_id, manner, idempotency_key))

    def receipt(self, revocation_id: str, *, timeout_s: float = 5) -> Enforcement:
        """Wait until a revocation is enforced, for at most so long (below the client's timeout).

        Its `state` is `enforced`, with the `receipt`, or `committed`, with the `progress` so far.
        The receipt lists at most 1,000 verifiers; `receipt_pages` goes through all of them.
        """
        return self._send(calls.receipt(revocation_id, timeout_s))

    def receipt_pages(self, revocation_id: str, *, timeout_s: float = 5) -> Iterator[Receipt]:
        """Go through the pages of a receipt; without any where it is not enforced in time.

        They differ in `verifiers`, `grace` and `next` alone.
        """
        cursor: str | None = None
        while True:
            done = self._send(calls.receipt(revocation_id, timeout_s, cursor))
            if done["receipt"] is None:
                return
            yield done["receipt"]
            if (cursor := done["receipt"].get("next")) is None:
                return

    def revocation(self, revocation_id: str) -> Document:
        """Look at one revocation."""
        return self._send(calls.revocation(revocation_id))

    def revocations(self, **filters: str | Sequence[str]) -> Iterator[Document]:
        """Go through the revocations that the filters leave, newest first, page by page.

        `standing="true"` leaves what a lift could end; `handle=[…]` of that what names one of them.
        """
        cursor: str | None = None
        while True:
            page = self._send(calls.revocations(filters, cursor))
            yield from page.entries
            if (cursor := page.cursor) is None:
                return

    def fleet(self) -> Document:
        """List the sidecars, and how fresh each is."""
        return self._send(calls.fleet())

    def evict(self, instance: str, *, reason: str = "") -> Document:
        """End a sidecar's instance (its id in hex) for good. To repeat it does no harm."""
        return self._send(calls.evict(instance, reason))

    def term(self) -> Document:
        """Read the lease term, and how far a change of it has come."""
        return self._send(calls.term())

    def set_term(self, term_ms: int) -> Document:
        """Ask for another lease term; it is so once `settled` is true. Needs rescind:admin."""
        return self._send(calls.set_term(term_ms))

    def health(self) -> Document:
        """Ask whether the authority can do its work."""
        return self._send(calls.health())

    def events(self, *, after: int | None = None) -> Iterator[Document]:
        """Follow the events, for ever: those after the seq `after`, or those from now on.

        A stream that breaks is resumed behind the last event that came.
        """
        if after is None:
            after = calls.newest_seq(self._send(calls.revocations({}, None)))
        failures = 0
        while True:
            try:
                for seq, event in self._stream(after):
                    after, failures = seq, 0
                    yield event
            except UnreachableError:
                failures += 1
                if failures > link.PATIENCE:
                    raise
            time.sleep(link.RETRY_S)

    def _stream(self, after: int) -> Iterator[tuple[int, Document]]:
        with (
            link.translated(self._url),
            self._http().sse(**link.stream(after)) as source,
        ):
            if not source.response.is_success:
                source.response.read()
                raise link.refusal(source.response)
            for sent in source:
                if sent.data:
                    yield link.event(sent)


class Bearer(_Connection):
    """Hand on what a token may do, as its bearer: no admin token is needed.

    Every call raises what those of `Admin` raise.
    """

    @classmethod
    def from_environment(cls) -> Self:
        """Take RESCIND_URL and RESCIND_TOKEN."""
        return cls(settings.url(), settings.token())

    def delegate(self, *, idempotency_key: str | None = None, **portion: Unpack[Portion]) -> Issued:
        """Make a token with a part of this one's power. Its secret is in this answer only.

        It speaks for `<this token's subject>/<name>`, and dies with this token.
        """
        return self._send(calls.delegate(portion, idempotency_key))

    def rotate(self, *, idempotency_key: str | None = None, **renewal: Unpack[Renewal]) -> Issued:
        """Give this very token a new secret; this client goes on with the old one."""
        return self._send(calls.rotate_own(renewal, idempotency_key))

    def sessions(self) -> Document:
        """List the sessions of this session's subject that are good now."""
        return self._send(calls.sessions())

    def log_out(
        self,
        token_id: str | None = None,
        *,
        everywhere: bool = False,
        idempotency_key: str | None = None,
        **answer: Unpack[calls.Answer],
    ) -> Document:
        """End this session, another one of its subject, or all of them."""
        call = calls.log_out(token_id, everywhere, answer, idempotency_key)
        return self._send(call)
