# Generated from async_client/revocations.py by `python -m tests.support.sync_client`: edit that.
"""Calls about revocations: revoke, suspend, narrow, kill, lift, and wait until it is enforced."""

from collections.abc import Generator, Sequence
from typing import Literal, Unpack, overload

from rescind.client.admin import calls
from rescind.client.admin.calls import Call
from rescind.client.admin.receipts import ReceiptDocument
from rescind.client.admin.requests import (
    Command,
    RequestOptions,
    RevocationFilters,
    RevocationItem,
    WaitOptions,
)
from rescind.client.admin.responses.revocations import (
    BatchResult,
    RevocationDetails,
    RevocationPreview,
)
from rescind.client.admin.sync_client.connection import AuthorityConnection
from rescind.core.secret import Secret


class RevocationCalls(AuthorityConnection):
    """The calls of an administrator about revocations.

    Commands return once the ledger has them; verifiers deny milliseconds later. With `wait=True`
    they return once they are enforced, with the receipt, or after `timeout` seconds with `state`
    `committed`. `timeout` is to be below the `timeout_s` of the client. With `dry_run=True` nothing
    is changed, and the answer is a `RevocationPreview`.
    """

    @overload
    def revoke(
        self,
        *selector: str,
        dry_run: Literal[True],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationPreview: ...

    @overload
    def revoke(
        self,
        *selector: str,
        dry_run: Literal[False] = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails: ...

    def revoke(
        self,
        *selector: str,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails | RevocationPreview:
        """Revoke the tokens that have all of these handles, for good.

        Args:
            *selector: One to eight handles, such as `tenant:acme`. `token:` includes the token's
                descendants and `subject:` its chain, unless `exact=True`.
            dry_run: True: return what would be hit, and change nothing.
            idempotency_key: A repeat under the same key returns the first answer.
            **command: The fields of `Command`: `reason`, `exact`, `issued_before`, `wait`,
                `timeout` (seconds), `preview`, and `effect`, `scopes` and `until` for the others.

        Returns:
            The revocation at its place in the ledger; of a dry run, the preview.

        Raises:
            ProblemError: The selector is not valid (422), or it hits many tokens and needs the
                `preview` of a dry run (409, `preview-needed`).
            OutcomeUnknownError: It is not known whether it was committed.
            UnreachableError: No authority answers.
        """
        return self._command(calls.revoke(selector, command, idempotency_key), dry_run)

    @overload
    def revoke_token(
        self,
        token: Secret,
        *,
        dry_run: Literal[True],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationPreview: ...

    @overload
    def revoke_token(
        self,
        token: Secret,
        *,
        dry_run: Literal[False] = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails: ...

    def revoke_token(
        self,
        token: Secret,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails | RevocationPreview:
        """Revoke one token by its secret, and its descendants.

        Args:
            token: The secret. It is sent in the body of the request, and never in a URL.
            dry_run: True: return what would be hit, and change nothing.
            idempotency_key: A repeat under the same key returns the first answer.
            **command: The fields of `Command`, as for `revoke`.

        Returns:
            The revocation at its place in the ledger; of a dry run, the preview.

        Raises:
            ProblemError: There is no such token (404), or a field is not valid (422).
            OutcomeUnknownError: It is not known whether it was committed.
            UnreachableError: No authority answers.
        """
        return self._command(calls.revoke_token(token, command, idempotency_key), dry_run)

    @overload
    def suspend(
        self,
        *selector: str,
        dry_run: Literal[True],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationPreview: ...

    @overload
    def suspend(
        self,
        *selector: str,
        dry_run: Literal[False] = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails: ...

    def suspend(
        self,
        *selector: str,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails | RevocationPreview:
        """Suspend the tokens that have all of these handles, until a lift.

        Tokens that are issued later are suspended too.

        Args:
            *selector: One to eight handles, as for `revoke`.
            dry_run: True: return what would be hit, and change nothing.
            idempotency_key: A repeat under the same key returns the first answer.
            **command: The fields of `Command`: `until` (RFC 3339) lifts it without a command.

        Returns:
            The revocation at its place in the ledger; of a dry run, the preview.

        Raises:
            ProblemError: The selector is not valid (422), or a preview is needed (409).
            OutcomeUnknownError: It is not known whether it was committed.
            UnreachableError: No authority answers.
        """
        return self._command(calls.suspend(selector, command, idempotency_key), dry_run)

    @overload
    def narrow(
        self,
        *selector: str,
        remove: Sequence[str],
        dry_run: Literal[True],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationPreview: ...

    @overload
    def narrow(
        self,
        *selector: str,
        remove: Sequence[str],
        dry_run: Literal[False] = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails: ...

    def narrow(
        self,
        *selector: str,
        remove: Sequence[str],
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails | RevocationPreview:
        """Remove scopes from the tokens that have all of these handles, until a lift.

        Args:
            *selector: One to eight handles, as for `revoke`.
            remove: Scopes, or patterns of them such as `tools:*`.
            dry_run: True: return what would be hit, and change nothing.
            idempotency_key: A repeat under the same key returns the first answer.
            **command: The fields of `Command`: `until` (RFC 3339) lifts it without a command.

        Returns:
            The revocation at its place in the ledger; of a dry run, the preview.

        Raises:
            ProblemError: The selector or a scope is not valid (422), or a preview is needed (409).
            OutcomeUnknownError: It is not known whether it was committed.
            UnreachableError: No authority answers.
        """
        call = calls.narrow(selector, remove, command, idempotency_key)
        return self._command(call, dry_run)

    @overload
    def kill(
        self,
        subject: str,
        *,
        dry_run: Literal[True],
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationPreview: ...

    @overload
    def kill(
        self,
        subject: str,
        *,
        dry_run: Literal[False] = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails: ...

    def kill(
        self,
        subject: str,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **command: Unpack[Command],
    ) -> RevocationDetails | RevocationPreview:
        """Revoke and suspend the chain of a subject in one commit.

        Its tokens end, with all that was delegated from them. It gets no new one until a lift.

        Args:
            subject: Such as `agent:billing-bot`.
            dry_run: True: return what would be hit, and change nothing.
            idempotency_key: A repeat under the same key returns the first answer.
            **command: The fields of `Command`, as for `revoke`.

        Returns:
            The revocation, whose effect is `kill`; of a dry run, the preview.

        Raises:
            ProblemError: The subject is not valid (422).
            OutcomeUnknownError: It is not known whether it was committed.
            UnreachableError: No authority answers.
        """
        return self._command(calls.kill(subject, command, idempotency_key), dry_run)

    def revoke_each(
        self,
        items: Sequence[RevocationItem],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[WaitOptions],
    ) -> BatchResult:
        """Send up to 1,000 commands in one call.

        Args:
            items: The commands; the fields are those of `RevocationItem`.
            idempotency_key: A repeat under the same key returns the first answers.
            **options: The fields of `WaitOptions`: `wait` and `timeout` (seconds), for all of them.

        Returns:
            One outcome for each command: a refusal of one leaves the others alone.

        Raises:
            ProblemError: The call is not valid as a whole (422).
            OutcomeUnknownError: It is not known which commands were committed.
            UnreachableError: No authority answers.
        """
        return self._send(calls.revoke_each(items, options, idempotency_key))

    def lift(
        self,
        revocation_id: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> RevocationDetails:
        """End a suspend or a narrow; of a kill, its suspend.

        A token that another revocation denies stays denied.

        Args:
            revocation_id: The id of the revocation, `rev_…`.
            idempotency_key: A repeat under the same key returns the first answer.
            **options: The fields of `RequestOptions`: `reason`, `wait` and `timeout` (seconds).

        Returns:
            The lift, which has an id of its own.

        Raises:
            ProblemError: There is no such revocation (404), or it is a revoke, which is final, or
                was lifted before (409).
            OutcomeUnknownError: It is not known whether it was lifted.
            UnreachableError: No authority answers.
        """
        return self._send(calls.lift(revocation_id, options, idempotency_key))

    def receipt(self, revocation_id: str, *, timeout_s: float = 5) -> RevocationDetails:
        """Wait until a revocation is enforced.

        Args:
            revocation_id: The id of a revocation or of another change, `rev_…`.
            timeout_s: The longest wait, in seconds; below the `timeout_s` of this client.

        Returns:
            The revocation. `state` is `enforced`, with the `receipt`, or `committed`, with the
            `progress`. The receipt lists at most 1,000 verifiers; `receipt_pages` has all.

        Raises:
            ProblemError: There is no such revocation (404), or a restored backup lost it (409).
            UnreachableError: No authority answers.
        """
        return self._send(calls.receipt(revocation_id, timeout_s))

    def receipt_pages(
        self, revocation_id: str, *, timeout_s: float = 5
    ) -> Generator[ReceiptDocument]:
        """Iterate over the pages of a receipt.

        Args:
            revocation_id: The id of a revocation or of another change, `rev_…`.
            timeout_s: The longest wait for the receipt, in seconds.

        Yields:
            Pages that differ in `verifiers`, `grace` and `next` alone. There is no page if the
            revocation is not enforced in time.

        Raises:
            ProblemError: There is no such revocation (404), or a restored backup lost it (409).
            UnreachableError: No authority answers.
        """
        cursor: str | None = None
        while True:
            done = self._send(calls.receipt(revocation_id, timeout_s, cursor))
            if done["receipt"] is None:
                return
            yield done["receipt"]
            if (cursor := done["receipt"].get("next")) is None:
                return

    def revocation(self, revocation_id: str) -> RevocationDetails:
        """Fetch one revocation, with its receipt if a wait made one.

        Args:
            revocation_id: The id of the revocation, `rev_…`.

        Returns:
            The revocation; of a revoke, `swept` is set.

        Raises:
            ProblemError: There is no such revocation (404).
            UnreachableError: No authority answers.
        """
        return self._send(calls.revocation(revocation_id))

    def revocations(self, **filters: Unpack[RevocationFilters]) -> Generator[RevocationDetails]:
        """Iterate over revocations, newest first.

        Args:
            **filters: The fields of `RevocationFilters`. `standing="true"` leaves what a lift could
                end, and `handle=[…]` of that what names one of these handles.

        Yields:
            Each revocation. The next page is fetched when it is needed.

        Raises:
            ProblemError: A filter is not valid (422).
            UnreachableError: No authority answers.
        """
        return self._entries(lambda cursor: calls.revocations(filters, cursor))

    def _command(
        self, call: Call[RevocationDetails], dry_run: bool
    ) -> RevocationDetails | RevocationPreview:
        return self._send(calls.dry(call)) if dry_run else self._send(call)
