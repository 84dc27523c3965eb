"""Assertions of clients: JWTs that they sign (RFC 7523, section 2.2 and 3).

A stolen assertion is of little use: it lives for five minutes at most, names one authority, and is
accepted once.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from joserfc import jws, jwt
from joserfc.errors import JoseError

from rescind.core import well_known_scopes
from rescind.core.times import US_PER_S
from rescind.errors import RescindError
from rescind_authority.usecases.oauth import key_sets

MAX_LIFE_S = 300
SKEW_S = 30
"""How far the clock of a client may differ from the authority's, in seconds."""

_MAX_LENGTH = 8_192
_MAX_TIME_S = 1e12
_MAX_JTI = 256
_CLIENT_ID = re.compile(well_known_scopes.SERVICE)
_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)
"""The errors of the parsers: for an unknown type in a header, or for deeply nested JSON."""


class InvalidAssertionError(RescindError):
    """Raised for an assertion that is not accepted. The text repeats nothing of it."""


class WrongSignatureError(InvalidAssertionError):
    """Raised for an assertion that no key of the client signed: its sender is not known."""

    def __init__(self) -> None:
        super().__init__("the signature is not valid.")


@dataclass(frozen=True, slots=True)
class Assertion:
    """An accepted assertion: its id, and its end (Unix µs)."""

    jti: str
    expires_at_us: int


def find_client_id(assertion: str) -> str:
    """Return the client that an assertion names, before its signature is verified.

    Raises InvalidAssertionError.
    """
    if len(assertion) > _MAX_LENGTH:
        raise InvalidAssertionError(f"the assertion has more than {_MAX_LENGTH:,} characters.")
    try:
        claims = json.loads(jws.extract_compact(assertion.encode()).payload)
    except _UNREADABLE:
        raise InvalidAssertionError("the assertion is not a JWT.") from None
    issuer = cast("dict[str, Any]", claims).get("iss") if isinstance(claims, dict) else None
    if not isinstance(issuer, str) or not _CLIENT_ID.fullmatch(issuer):
        raise InvalidAssertionError("the claim `iss` must be the client's id.")
    return issuer


def verify(
    assertion: str, *, client_id: str, jwks: str, audiences: Collection[str], now_us: int
) -> Assertion:
    """Verify an assertion of a client with these keys, for one of these audiences.

    Raises InvalidAssertionError, or WrongSignatureError.
    """
    try:
        claims = jwt.decode(
            assertion, key_sets.load(jwks), algorithms=list(key_sets.ALGORITHMS)
        ).claims
    except _UNREADABLE:
        raise WrongSignatureError from None
    if (claims.get("iss"), claims.get("sub")) != (client_id, client_id):
        raise InvalidAssertionError("the claims `iss` and `sub` must be the client's id.")
    if not _names_one_of(claims.get("aud"), audiences):
        raise InvalidAssertionError("the claim `aud` must be this authority's issuer alone.")
    ends_s = _verify_times(claims, now_us / US_PER_S)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= _MAX_JTI or not _is_text(jti):
        raise InvalidAssertionError(
            f"the claim `jti` must be a text of 1 to {_MAX_JTI} characters."
        )
    return Assertion(jti, round((ends_s + SKEW_S) * US_PER_S))


def _is_text(text: str) -> bool:
    """Return False for half of a surrogate pair, which JSON can contain and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names_one_of(audience: object, audiences: Collection[str]) -> bool:
    # One audience alone: another recipient of the assertion could present it here.
    if isinstance(audience, list) and len(cast("list[object]", audience)) == 1:
        (audience,) = cast("list[object]", audience)
    return isinstance(audience, str) and audience in audiences


def _verify_times(claims: dict[str, Any], now_s: float) -> float:
    """Return the end of an assertion (Unix seconds)."""
    ends_s = _read_time(claims, "exp")
    if ends_s is None:
        raise InvalidAssertionError("the claim `exp` is missing.")
    if ends_s <= now_s - SKEW_S:
        raise InvalidAssertionError("the assertion has expired.")
    if ends_s > now_s + MAX_LIFE_S + SKEW_S:
        raise InvalidAssertionError(
            f"the claim `exp` must be at most {MAX_LIFE_S} seconds in the future."
        )
    for name in ("iat", "nbf"):
        begins_s = _read_time(claims, name)
        if begins_s is not None and begins_s > now_s + SKEW_S:
            raise InvalidAssertionError(f"the claim `{name}` is in the future.")
    return ends_s


def _read_time(claims: dict[str, Any], name: str) -> float | None:
    found = claims.get(name)
    if found is None:
        return None
    # JSON's parser accepts NaN, to which every comparison is false.
    if (
        isinstance(found, bool)
        or not isinstance(found, (int, float))
        or not -_MAX_TIME_S < found < _MAX_TIME_S
    ):
        raise InvalidAssertionError(f"the claim `{name}` must be a number of seconds.")
    return float(found)
