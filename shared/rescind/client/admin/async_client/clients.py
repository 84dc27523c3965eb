"""The client of an administrator, and that of a token's holder."""

from typing import Self, Unpack

from rescind.client import settings
from rescind.client.admin import calls
from rescind.client.admin.async_client.connection import AsyncAuthorityConnection
from rescind.client.admin.async_client.oauth_clients import AsyncOAuthClientCalls
from rescind.client.admin.async_client.operations import AsyncOperationCalls
from rescind.client.admin.async_client.revocations import AsyncRevocationCalls
from rescind.client.admin.async_client.tokens import AsyncTokenCalls
from rescind.client.admin.calls import Issued, Rotated
from rescind.client.admin.requests import ChildGrant, RotationOptions, WaitOptions
from rescind.client.admin.responses.sessions import LogOutResult, SubjectSessions


class AsyncAdmin(AsyncTokenCalls, AsyncRevocationCalls, AsyncOAuthClientCalls, AsyncOperationCalls):
    """Send commands and questions to the authority, as the bearer of an admin token.

    Every call raises ProblemError if the authority refuses it: 401 if the token is not accepted,
    403 if it lacks a scope, 503 if nothing can be done now. It raises UnreachableError if no
    authority answers. A command raises OutcomeUnknownError if it was sent and no answer came: send
    it again under the `idempotency_key` of the error, and it takes effect once.
    """

    @classmethod
    def from_environment(cls) -> Self:
        """Return a client with the settings that the command `rescind` uses.

        The environment counts before the file `env` in the data directory, which `rescind up`
        writes: RESCIND_URL, RESCIND_ADMIN_TOKEN or RESCIND_ADMIN_TOKEN_FILE, the files
        RESCIND_AUTHORITY_CA_FILE, _CERT_FILE and _KEY_FILE, and RESCIND_ALLOW_PLAINTEXT.
        RESCIND_DATA names the data directory. The token of the data directory is sent to the
        authority of that directory alone.

        Returns:
            A client that has not connected yet.

        Raises:
            RescindError: No URL or no admin token is set, or a file cannot be read.
        """
        found = settings.load().admin()
        return cls(
            found.url, found.token, files=found.security.files, plaintext=found.security.plaintext
        )


class AsyncBearer(AsyncAuthorityConnection):
    """Send the calls that a token's holder may make with nothing but the token.

    Every call raises what the calls of `AsyncAdmin` raise.
    """

    @classmethod
    def from_environment(cls) -> Self:
        """Return a client with the settings that the command `rescind` uses.

        The token is RESCIND_TOKEN, from the environment alone. The rest is read as
        `AsyncAdmin.from_environment` reads it.

        Returns:
            A client that has not connected yet.

        Raises:
            RescindError: No URL or no token is set.
        """
        found = settings.load().holder()
        return cls(
            found.url, found.token, files=found.security.files, plaintext=found.security.plaintext
        )

    async def delegate(
        self, *, idempotency_key: str | None = None, **grant: Unpack[ChildGrant]
    ) -> Issued:
        """Issue a child of this token: it never has more permissions, and ends with this token.

        Args:
            idempotency_key: A repeat under the same key issues no second child.
            **grant: The fields of `ChildGrant`: `subject`, and what else the child may do.

        Returns:
            The child, with its secret. Only this answer has the secret; in a repeat it is None.

        Raises:
            ProblemError: This token is not accepted (401), it has less than the child is to have
                (403), or a suspend applies to the child (409).
            OutcomeUnknownError: It is not known whether the child was issued.
            UnreachableError: No authority answers.
        """
        return await self._send(calls.delegate(grant, idempotency_key))

    async def rotate(
        self, *, idempotency_key: str | None = None, **options: Unpack[RotationOptions]
    ) -> Rotated:
        """Rotate this token. This client goes on with the old secret.

        Args:
            idempotency_key: A repeat under the same key does not rotate it again.
            **options: The fields of `RotationOptions`: `overlap` (seconds, at most the token's
                `max_overlap`), `on_reuse`, `reason`, `wait` and `timeout` (seconds).

        Returns:
            The token with its new secret. Only this answer has the secret; in a repeat it is None.

        Raises:
            ProblemError: This token is not accepted (401), or its holder may not rotate it (403).
            OutcomeUnknownError: It is not known whether it was rotated.
            UnreachableError: No authority answers.
        """
        return await self._send(calls.rotate_own(options, idempotency_key))

    async def sessions(self) -> SubjectSessions:
        """List the live sessions of this session's subject.

        Returns:
            At most 200 sessions, newest first.

        Raises:
            ProblemError: This token is not a session, or its holder may not list sessions (403).
            UnreachableError: No authority answers.
        """
        return await self._send(calls.sessions())

    async def log_out(
        self,
        token_id: str | None = None,
        *,
        everywhere: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[WaitOptions],
    ) -> LogOutResult:
        """End this session, another session of its subject, or all of them.

        Args:
            token_id: The id of another session; None: this one.
            everywhere: True: end all sessions of the subject.
            idempotency_key: A repeat under the same key returns the first answer.
            **options: The fields of `WaitOptions`: `wait` and `timeout` (seconds).

        Returns:
            The end of the sessions at its place in the ledger.

        Raises:
            ProblemError: There is no such session (404), or this token is not a session (403).
            OutcomeUnknownError: It is not known whether the sessions were ended.
            UnreachableError: No authority answers.
        """
        call = calls.log_out(token_id, everywhere, options, idempotency_key)
        return await self._send(call)
