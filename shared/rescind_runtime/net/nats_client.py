"""nats-py's client, with TLS where it is required, and with each kind of identity.

A server greets in clear text, and its greeting contains whether it requires TLS. nats-py trusts
the greeting for a tls:// URL too: a host in between could omit the requirement, and would be sent
user and password. So where TLS is required here, a greeting without it ends the attempt. Other
servers of the cluster that such a greeting names are ignored: a host in between could name one for
which it has a certificate.
"""

import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nkeys  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs] it has no types
from nats.aio.client import DEFAULT_BUFFER_SIZE, Client, Srv
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from rescind.client import tls
from rescind.client.causes import NoTlsError
from rescind.client.tls import TlsError
from rescind_runtime.links import NatsLink

NKEY_ERRORS = (nkeys.NkeysError, ValueError)


class NoTlsOfferedError(NatsError, NoTlsError):
    """Raised if TLS is required and a server's greeting does not offer it. Nothing was sent."""


class _Transport(TcpTransport):
    """A connection that ends when TLS fails: nats-py would wait for its end for ever."""

    async def connect_tls(self, *arguments: Any, **named: Any) -> None:
        bare = self._io_writer
        try:
            await super().connect_tls(*arguments, **named)
        except BaseException:
            # TLS replaced the protocol that would have reported the end.
            if bare is not None:
                bare.transport.abort()
            self._io_reader = self._io_writer = None
            raise

    async def drain(self) -> None:
        try:
            await super().drain()  # type: ignore[no-untyped-call] # nats-py leaves it open
        except ConnectionResetError as lost:
            # The cause may have arrived at the same moment, such as a TLS alert with the reason.
            reason = self._io_reader.exception() if self._io_reader is not None else None
            if reason is not None:
                raise reason from lost
            raise


class SecuredClient(Client):
    """nats-py's client that sends nothing before TLS, if TLS is required.

    If TLS is not required because all servers are on this machine (`local`), it connects to no
    other servers.
    """

    def __init__(self, *, required: bool, local: bool) -> None:
        super().__init__()
        self._required = required
        self._local = local

    async def _connect_to_server(self, s: Srv) -> None:
        s.last_attempt = time.monotonic()
        transport = _Transport()  # type: ignore[no-untyped-call] # the same
        await transport.connect(
            s.uri,
            buffer_size=DEFAULT_BUFFER_SIZE,
            connect_timeout=self.options["connect_timeout"],
        )
        self._transport = transport

    def _connect_command(self) -> bytes:
        if self._required and not self._server_info.get("tls_required"):
            raise NoTlsOfferedError("no TLS is offered")
        self._take_user()
        return super()._connect_command()

    def _take_user(self) -> None:
        """Read user and password of a URL, in which some characters have to be escaped.

        The URL of a discovered server has neither: that server gets those of the one before.
        """
        uri = self._current_server.uri if self._current_server else None
        if uri is None or uri.username is None:
            return
        user = unquote(uri.username)
        if uri.password is None:
            self.options["token"] = user
        else:
            self.options |= {"user": user, "password": unquote(uri.password)}

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        announced: list[str] = info.get("connect_urls") or []
        if self._required and initial_connection:
            announced = []
        elif self._local:  # clear text does not leave this machine
            announced = [each for each in announced if tls.local(urlsplit(f"//{each}").hostname)]
        info = info | {"connect_urls": announced}
        await super()._process_info(info, initial_connection)


def client(link: NatsLink) -> Client:
    """Return a client for a link, not yet connected."""
    local = all(tls.local(urlsplit(url).hostname) for url in link.urls)
    return SecuredClient(required=link.secured, local=local and not link.secured)


def options(link: NatsLink) -> dict[str, Any]:
    """Return the options of `connect` for a link. Raises TlsError for an unusable file."""
    found: dict[str, Any] = {"servers": list(link.urls)}
    if link.secured:
        found["tls"] = link.files.client()
    if link.creds is not None and link.nkey is not None:
        raise TlsError("RESCIND_NATS_CREDS_FILE and RESCIND_NATS_NKEY_FILE: set one of them")
    if link.creds is not None:
        _require_seed("RESCIND_NATS_CREDS_FILE", link.creds, "BEGIN USER NKEY SEED")
        found["user_credentials"] = str(link.creds)
    if link.nkey is not None:
        _require_seed("RESCIND_NATS_NKEY_FILE", link.nkey, "")
        found["nkeys_seed"] = str(link.nkey)
    return found


def _require_seed(variable: str, path: Path, after: str) -> None:
    """Raise TlsError unless a file holds a seed, in the line after one that contains `after`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise TlsError(f"{variable}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        lines = []
    if after:
        place = next((number for number, line in enumerate(lines) if after in line), len(lines))
        lines = lines[place + 1 : place + 2]
    seed = bytearray("".join(lines[:1]).strip().encode())
    try:
        nkeys.from_seed(seed).wipe()  # pyright: ignore[reportUnknownMemberType] it has no types
    except NKEY_ERRORS:
        what = "a .creds file of a user" if after else "the seed of a user (SU…)"
        raise TlsError(f"{variable}: {path} is not {what}") from None
