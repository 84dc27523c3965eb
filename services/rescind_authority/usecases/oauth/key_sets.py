"""Sets of public keys (RFC 7517), with which clients sign assertions."""

import base64
import json
from typing import Any, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from rescind_authority.errors import FieldError, InvalidRequestError

MAX_BYTES = 16_384
MAX_KEYS = 16
MIN_RSA_BITS = 2048
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
"""The members that are secret (RFC 7518, section 6). One of those of RSA reveals the others."""

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519")
"""The signature algorithms of assertions: asymmetric ones alone."""


def validate(document: dict[str, Any]) -> str:
    """Return a key set as the text that is stored.

    Raises InvalidRequestError for a set that is empty or too large, for a private or symmetric key,
    for a short RSA key, and for several keys without distinct `kid`s.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    try:
        problem = _find_problem(document, text)
    except (JoseError, ValueError, TypeError, KeyError):
        problem = 'expected a JWK set of public keys: {"keys": [{"kty": "EC", …}]}'
    if problem is not None:
        raise InvalidRequestError(FieldError("jwks", problem))
    return text


def load(text: str) -> KeySet:
    """Return the keys of a stored set."""
    return KeySet.import_key_set(json.loads(text))


def _find_problem(document: dict[str, Any], text: str) -> str | None:
    if document.keys() != {"keys"} or len(text) > MAX_BYTES:
        return f'expected {{"keys": […]}} without other members, of at most {MAX_BYTES:,} bytes'
    found = document["keys"]
    if not isinstance(found, list):
        raise TypeError("the keys are not a list")
    members = [dict(each) for each in cast("list[dict[str, Any]]", found)]
    if not 1 <= len(members) <= MAX_KEYS:
        return f"expected 1 to {MAX_KEYS} keys"
    if any(_PRIVATE & each.keys() for each in members):
        return "a private or symmetric key is among them: send public keys alone"
    for each in members:
        # Before the library loads it, which warns of a short key.
        if each["kty"] == "RSA" and (bits := _modulus_bits(each["n"])) < MIN_RSA_BITS:
            return f"an RSA key has {bits} bits: use {MIN_RSA_BITS} or more"
    names = {each.get("kid") for each in members}
    if len(members) > 1 and (None in names or len(names) < len(members)):
        return "each of several keys needs a `kid` of its own"
    return next((why for key in load(text).keys if (why := _find_key_problem(key))), None)


def _find_key_problem(key: object) -> str | None:
    match key:
        case RSAKey():
            return None
        case ECKey():
            known = key.curve_name in {"P-256", "P-384"}
            return None if known else "an EC key needs the curve P-256 or P-384"
        case OKPKey():
            return None if key.curve_name == "Ed25519" else "an OKP key needs the curve Ed25519"
        case _:
            return "expected keys of type RSA, EC or OKP"


def _modulus_bits(modulus: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(modulus + "==")).bit_length()
