# Generated from async_client/connection.py by `python -m tests.support.sync_client`: edit that.
"""The connection to the authority, which sends each request to one of several URLs."""

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from rescind.client import settings
from rescind.client.admin import adapter
from rescind.client.admin.calls import Call, Page
from rescind.client.tls import LinkSecurity, TlsFiles
from rescind.core.secret import Secret
from rescind.errors import UnreachableError

T = TypeVar("T")


class AuthorityConnection:
    """Send calls to the authority at a URL, as the bearer of a token.

    It connects with the first call. `with` closes it at the end of the block.

    Args:
        url: `https://…`, or `http://…` on this machine. Of several URLs, separated by commas, the
            next one is tried where no authority answers.
        token: The token that authorises the calls.
        timeout_s: How long one request may take, in seconds.
        files: The CA, and the client's certificate and key, for `https://`.
        plaintext: True allows `http://` to other machines. The token is sent in clear text then.
    """

    def __init__(
        self,
        url: str,
        token: Secret | None,
        *,
        timeout_s: float = adapter.TIMEOUT_S,
        files: TlsFiles = adapter.NO_FILES,
        plaintext: bool = False,
    ) -> None:
        self._security = LinkSecurity(files, plaintext)
        self._urls = settings.urls(url) or (url,)
        self._url_index = 0
        self._token = token
        self._timeout_s = timeout_s
        self._clients: dict[str, httpx2.Client] = {}

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
        """Close the connection; the next call opens another one."""
        while self._clients:
            _, client = self._clients.popitem()
            client.close()

    @property
    def _url(self) -> str:
        return self._urls[self._url_index]

    def _try_next(self, failed: str) -> None:
        """Select the next URL, unless a concurrent call has selected it."""
        if self._url == failed:
            self._url_index = (self._url_index + 1) % len(self._urls)

    def _send(self, call: Call[T]) -> T:
        for left in reversed(range(len(self._urls))):
            url = self._url
            try:
                # For a command, UnreachableError means that it was not sent.
                with adapter.translated(url, key=call.key):
                    response = self._http().request(**adapter.arguments(call))
            except UnreachableError as error:
                self._try_next(url)
                if len(self._urls) == 1:
                    raise
                if not left:
                    raise adapter.unreachable(self._urls) from error
                continue
            return adapter.answer(call, response)
        raise AssertionError("there is at least one URL")

    def _entries(self, page: Callable[[str | None], Call[Page[T]]]) -> Generator[T]:
        """Yield the entries of a list, and fetch each page when it is needed."""
        cursor: str | None = None
        while True:
            fetched = self._send(page(cursor))
            yield from fetched.entries
            if (cursor := fetched.cursor) is None:
                return

    def _http(self) -> httpx2.Client:
        client = self._clients.get(self._url)
        if client is None:
            options = adapter.options(
                self._urls,
                self._url_index,
                self._token,
                timeout_s=self._timeout_s,
                security=self._security,
            )
            client = self._clients[self._url] = httpx2.Client(**options)
        return client
