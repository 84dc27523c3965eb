"""The causes why a server cannot be used, for every driver, and the advice for each.

Drivers wrap errors of the system, of TLS and of the server. The first known error in the chain of
causes decides. The text of a driver is never passed on: it may quote a password.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

# OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_HOST_NAME, _ADDRESS = 62, 64
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE")
_VERSION = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS", "NO_SHARED_CIPHER")
_CERTIFICATE_REFUSED = re.compile(
    r"ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_(EXPIRED|UNKNOWN|REVOKED)|UNSUPPORTED_CERT)"
)
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SUBJECT = re.compile(r'(publish|subscription) to "[A-Za-z0-9_.*>-]{1,128}"', re.IGNORECASE)
_DRIVERS = ("asyncpg", "nats", "redis")


class Fault(StrEnum):
    """Why a link cannot be used, as the log and `doctor` name it."""

    NAME = "name"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    HOST_NAME = "host_name"
    EXPIRED = "expired"
    NO_TLS = "no_tls"
    TLS = "tls"
    CLIENT_CERTIFICATE = "client_certificate"
    CLIENT_CERTIFICATE_REFUSED = "client_certificate_refused"
    AUTHORIZATION = "authorization"
    FORBIDDEN = "forbidden"
    WANTS_TLS = "wants_tls"
    OTHER = "other"


_PHRASES = {
    Fault.NAME: "no host of that name is known",
    Fault.REFUSED: "connection refused",
    Fault.TIMEOUT: "no answer in time",
    Fault.UNTRUSTED: "its certificate is not trusted",
    Fault.HOST_NAME: "its certificate is for another host name",
    Fault.EXPIRED: "its certificate is out of date",
    Fault.NO_TLS: "it does not speak TLS there",
    Fault.TLS: "TLS fails",
    Fault.CLIENT_CERTIFICATE: "it wants a client certificate",
    Fault.CLIENT_CERTIFICATE_REFUSED: "it refuses our client certificate",
    Fault.AUTHORIZATION: "it refuses our user, password or key",
    Fault.FORBIDDEN: "its permissions forbid it",
    Fault.WANTS_TLS: "it admits no client from here in clear text",
}

_ADVICE = {
    Fault.NAME: "Correct the host name in {url}, or the name service of this machine.",
    Fault.REFUSED: "Start the server, or correct host and port in {url}.",
    Fault.TIMEOUT: "Look whether the server runs, and what lies between: firewall, network policy.",
    Fault.UNTRUSTED: "Name the CA of its certificate in {ca}.",
    Fault.HOST_NAME: "Write the name that is in its certificate into {url}, or issue it another.",
    Fault.EXPIRED: "Renew the server's certificate; if it is in date, set this machine's clock.",
    Fault.NO_TLS: "Switch TLS on at the server, or correct the port in {url}.",
    Fault.TLS: "Let both sides have TLS 1.2 or 1.3. The server's log says more.",
    Fault.CLIENT_CERTIFICATE: "Set {cert} and {key}.",
    Fault.CLIENT_CERTIFICATE_REFUSED: "Have {cert} issued anew, by the CA that the server trusts.",
    Fault.AUTHORIZATION: "Correct the user, password or key for {url}.",
    Fault.FORBIDDEN: "Give this user the permission at the server.",
    Fault.WANTS_TLS: "Use TLS: set {ca}. If it is in use, let pg_hba.conf admit this host.",
}

_SERVER_MESSAGES = (
    (re.compile("valid client certificate", re.IGNORECASE), Fault.CLIENT_CERTIFICATE),
    (re.compile("no encryption"), Fault.WANTS_TLS),
    (re.compile("permissions violation|noperm|no permissions", re.IGNORECASE), Fault.FORBIDDEN),
    (
        re.compile("authori[sz]ation|authenticat|wrongpass|noauth|InvalidPassword", re.IGNORECASE),
        Fault.AUTHORIZATION,
    ),
)
"""Patterns of a server's message or a driver's error name; the first match counts."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a link cannot be used. `detail` is what TLS or the system reports beyond the kind."""

    kind: Fault
    detail: str = ""

    @property
    def transient(self) -> bool:
        """Return True if waiting may help; every other cause needs an operator."""
        return self.kind in {Fault.REFUSED, Fault.TIMEOUT, Fault.OTHER}

    @property
    def description(self) -> str:
        """Return the cause in words."""
        message = _PHRASES.get(self.kind, "")
        return ": ".join(part for part in (message, self.detail) if part)

    def advice(self, link: str, url: str) -> str:
        """Return the advice, or an empty text. `url` is the setting of the link's URL."""
        prefix = f"RESCIND_{link.upper()}"
        return _ADVICE.get(self.kind, "").format(
            url=url,
            ca=f"{prefix}_CA_FILE",
            cert=f"{prefix}_CERT_FILE",
            key=f"{prefix}_KEY_FILE",
        )


class NoTlsError(OSError):
    """Raised when a server offers no TLS, but this side requires it. Nothing was sent."""


def of(error: BaseException) -> Cause:
    """Return the cause of a driver's error."""
    chain = list(_iterate_causes(error))
    for each in chain:
        cause = _classify_tls(each) or _classify_server(each)
        if cause is not None:
            return cause
    for each in chain:
        if (cause := _classify_system(each)) is not None:
            return cause
    return Cause(
        Fault.OTHER, _CAMEL_CASE.sub(" ", type(error).__name__.removesuffix("Error")).lower()
    )


def of_client(error: ssl.SSLError) -> tuple[Fault, str]:
    """Return why TLS with a client failed, from the server's point of view."""
    reason = (error.reason or "ssl").upper()
    if "PEER_DID_NOT_RETURN" in reason:
        return Fault.CLIENT_CERTIFICATE, "it shows no client certificate"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its client certificate is not accepted: {error.verify_message}"
        return Fault.CLIENT_CERTIFICATE_REFUSED, why
    if _CERTIFICATE_REFUSED.search(reason):
        return Fault.UNTRUSTED, f"it refuses our certificate: {_to_words(reason)}"
    if any(each in reason for each in _NO_TLS):
        return Fault.NO_TLS, "it does not speak TLS"
    return Fault.TLS, f"TLS fails: {_to_words(reason)}"


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error, the errors that caused it, and the members of groups."""
    visited: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop(0)
        if each is None or id(each) in visited:
            continue
        visited.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            pending.extend(cast("BaseExceptionGroup[BaseException]", each).exceptions)
        pending.append(each.__cause__ or each.__context__)


def _classify_tls(error: BaseException) -> Cause | None:
    if isinstance(error, NoTlsError):
        return Cause(Fault.NO_TLS)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _classify_certificate(error)
    return (
        _classify_alert((error.reason or "SSL").upper())
        if isinstance(error, ssl.SSLError)
        else None
    )


def _classify_alert(reason: str) -> Cause:
    if "CERTIFICATE_REQUIRED" in reason:
        return Cause(Fault.CLIENT_CERTIFICATE)
    if _CERTIFICATE_REFUSED.search(reason):
        return Cause(Fault.CLIENT_CERTIFICATE_REFUSED, _to_words(reason))
    if any(each in reason for each in _NO_TLS):
        return Cause(Fault.NO_TLS)
    has_common_version = not any(each in reason for each in _VERSION)
    return Cause(Fault.TLS, _to_words(reason) if has_common_version else "no version in common")


def _classify_certificate(error: ssl.SSLCertVerificationError) -> Cause:
    match error.verify_code:
        case code if code in {_HOST_NAME, _ADDRESS}:
            return Cause(Fault.HOST_NAME)
        case code if code in {_EXPIRED, _NOT_YET_VALID}:
            return Cause(Fault.EXPIRED, error.verify_message)
        case _:
            return Cause(Fault.UNTRUSTED, error.verify_message)


def _classify_server(error: BaseException) -> Cause | None:
    """Return the cause in a server's message, which only the driver's error name and text show."""
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return Cause(Fault.NO_TLS)
    if type(error).__module__.partition(".")[0] not in _DRIVERS:
        return None
    message = f"{type(error).__name__} {error}"
    kind = next((kind for pattern, kind in _SERVER_MESSAGES if pattern.search(message)), None)
    if kind is None:
        return None
    subject = _SUBJECT.search(message) if kind is Fault.FORBIDDEN else None
    return Cause(kind, subject[0].lower() if subject else "")


def _classify_system(error: BaseException) -> Cause | None:
    match error:
        case TimeoutError():
            return Cause(Fault.TIMEOUT)
        case socket.gaierror():
            return Cause(Fault.NAME)
        case ConnectionRefusedError():
            return Cause(Fault.REFUSED)
        case OSError(errno=int(number)):
            return Cause(Fault.OTHER, os.strerror(number).lower())
        case _:
            return None


def _to_words(reason: str) -> str:
    return reason.lower().replace("_", " ")
