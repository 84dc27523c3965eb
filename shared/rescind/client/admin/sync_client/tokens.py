# Generated from async_client/tokens.py by `python -m tests.support.sync_client`: edit that.
"""Calls about tokens: issue, read, rotate and end them."""

from collections.abc import Generator, Sequence
from typing import Unpack

from rescind.client.admin import calls
from rescind.client.admin.calls import Issued, Rotated
from rescind.client.admin.requests import Grant, RequestOptions, RotationOptions, TokenFilters
from rescind.client.admin.responses.token_changes import ExpiryResult, TokenChange
from rescind.client.admin.responses.tokens import (
    TokenDetails,
    TokenEntry,
    TokenTotal,
    TokenTree,
    TreeNode,
)
from rescind.client.admin.sync_client.connection import AuthorityConnection
from rescind.core.secret import Secret


class TokenCalls(AuthorityConnection):
    """The calls of an administrator about tokens."""

    def issue(self, *, idempotency_key: str | None = None, **grant: Unpack[Grant]) -> Issued:
        """Issue a token.

        Args:
            idempotency_key: A repeat under the same key issues no second token.
            **grant: The fields of `Grant`: `subject` and `kind`, and what else it may do.

        Returns:
            The token, with its secret. Only this answer has the secret; in a repeat it is None.

        Raises:
            ProblemError: The grant is not valid (422), is more than this token may issue (403), or
                a suspend applies to it (409).
            OutcomeUnknownError: It is not known whether it was issued.
            UnreachableError: No authority answers.
        """
        return self._send(calls.issue(grant, idempotency_key))

    def token(self, token_id: str) -> TokenDetails:
        """Fetch one token by its id.

        Args:
            token_id: The public name of the token, `tok_…`.

        Returns:
            The token in one snapshot, and why verifiers deny it, if they do.

        Raises:
            ProblemError: There is no such token (404).
            UnreachableError: No authority answers.
        """
        return self._send(calls.token(token_id))

    def presented(self, token: Secret) -> TokenDetails:
        """Fetch one token by its secret.

        Args:
            token: The secret. It is sent in the body of the request, and never in a URL.

        Returns:
            The same as `token`. `rotated_at` is set if the secret was rotated.

        Raises:
            ProblemError: There is no such token (404).
            UnreachableError: No authority answers.
        """
        return self._send(calls.presented(token))

    def tokens(self, **filters: Unpack[TokenFilters]) -> Generator[TokenEntry]:
        """Iterate over the tokens that match every filter, newest first.

        Args:
            **filters: The fields of `TokenFilters`; without any, all tokens.

        Yields:
            Each token. The next page is fetched when it is needed.

        Raises:
            ProblemError: A filter is not valid (422).
            UnreachableError: No authority answers.
        """
        return self._entries(lambda cursor: calls.tokens(filters, cursor))

    def count_tokens(self, **filters: Unpack[TokenFilters]) -> TokenTotal:
        """Count the tokens that match every filter.

        Args:
            **filters: The fields of `TokenFilters`; without any, all tokens.

        Returns:
            The number, which is exact up to 10,000 and an estimate above that.

        Raises:
            ProblemError: A filter is not valid (422).
            UnreachableError: No authority answers.
        """
        return self._send(calls.count_tokens(filters))

    def tree(self, token_id: str, *, depth: int = 3, children: int = 20) -> TokenTree:
        """Fetch a token, its ancestors, and levels of its descendants.

        Args:
            token_id: The public name of the token, `tok_…`.
            depth: How many levels of descendants to return.
            children: How many children to return of each token; the method `children` has all.

        Returns:
            At most 1,000 nodes, each after its parent.

        Raises:
            ProblemError: There is no such token (404), or a number is out of range (422).
            UnreachableError: No authority answers.
        """
        return self._send(calls.tree(token_id, depth, children))

    def children(self, token_id: str) -> Generator[TreeNode]:
        """Iterate over the children of a token, oldest first.

        Args:
            token_id: The public name of the token, `tok_…`.

        Yields:
            Each token that was delegated from it directly.

        Raises:
            ProblemError: There is no such token (404).
            UnreachableError: No authority answers.
        """
        return self._entries(lambda cursor: calls.children(token_id, cursor))

    def rotate(
        self,
        token_id: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[RotationOptions],
    ) -> Rotated:
        """Rotate a token: it gets a new secret under the same grant.

        Args:
            token_id: The public name of the token, `tok_…`.
            idempotency_key: A repeat under the same key does not rotate it again.
            **options: The fields of `RotationOptions`: `overlap` (seconds), `on_reuse`, `reason`,
                `wait` and `timeout` (seconds; below the `timeout_s` of this client).

        Returns:
            The token with its new secret. Only this answer has the secret; in a repeat it is None.

        Raises:
            ProblemError: There is no such token (404), it is revoked, suspended or has ended (409),
                or this token may not issue such a token (403).
            OutcomeUnknownError: It is not known whether it was rotated.
            UnreachableError: No authority answers.
        """
        return self._send(calls.rotate(token_id, options, idempotency_key))

    def expire(
        self,
        token_id: str,
        *,
        at: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> TokenChange:
        """End a token, and its descendants, early.

        Args:
            token_id: The public name of the token, `tok_…`.
            at: The new end, an RFC 3339 time before the present end; None: now.
            idempotency_key: A repeat under the same key returns the first answer.
            **options: The fields of `RequestOptions`: `reason`, `wait` and `timeout` (seconds;
                below the `timeout_s` of this client).

        Returns:
            The change at its place in the ledger, with `wait` once it is enforced.

        Raises:
            ProblemError: There is no such token (404), or it has ended before (409).
            OutcomeUnknownError: It is not known whether it was ended.
            UnreachableError: No authority answers.
        """
        return self._send(calls.expire(token_id, at, options, idempotency_key))

    def expire_each(
        self,
        token_ids: Sequence[str],
        *,
        at: str | None = None,
        reason: str = "",
        idempotency_key: str | None = None,
    ) -> ExpiryResult:
        """End up to 1,000 tokens early in one call.

        Args:
            token_ids: The public names of the tokens, `tok_…`.
            at: The new end, an RFC 3339 time before the present end; None: now.
            reason: The reason, for the ledger and the audit trail.
            idempotency_key: A repeat under the same key returns the first answers.

        Returns:
            One outcome for each token: a refusal of one leaves the others alone.

        Raises:
            ProblemError: The call is not valid as a whole (422).
            OutcomeUnknownError: It is not known which tokens were ended.
            UnreachableError: No authority answers.
        """
        return self._send(calls.expire_each(token_ids, at, reason, idempotency_key))
