"""An operator, an account and a user of NATS as JWTs (version 2), signed by their nkeys."""

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass

import nkeys  # type: ignore[import-untyped]  # it has no types


@dataclass(frozen=True)
class Accounts:
    """The configuration of a server, and the `.creds` of a user."""

    operator: str
    account: str
    account_id: str
    creds: str


def seed(prefix: int) -> str:
    """Return the seed of a new key."""
    made: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return made.decode()


def public(secret: str) -> str:
    """Return the public key of a seed."""
    key: bytes = nkeys.from_seed(bytearray(secret.encode())).public_key
    return key.decode()


def accounts() -> Accounts:
    """Create an operator, an account and a user."""
    operator = seed(nkeys.PREFIX_BYTE_OPERATOR)
    account = seed(nkeys.PREFIX_BYTE_ACCOUNT)
    user = seed(nkeys.PREFIX_BYTE_USER)
    anything: dict[str, object] = {"subs": -1, "data": -1, "payload": -1}
    limits = anything | {"imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    jwt = _jwt("user", public(user), account, anything)
    creds = (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user}\n------END USER NKEY SEED------\n"
    )
    return Accounts(
        _jwt("operator", public(operator), operator, {}),
        _jwt("account", public(account), operator, {"limits": limits}),
        public(account),
        creds,
    )


def _jwt(kind: str, subject: str, signer: str, facts: dict[str, object]) -> str:
    claims: dict[str, object] = {
        "iat": int(time.time()),
        "iss": public(signer),
        "name": kind,
        "sub": subject,
        "nats": facts | {"type": kind, "version": 2},
    }
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode()
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    signed = ".".join(_base64(json.dumps(each).encode()) for each in (head, claims))
    signature = nkeys.from_seed(bytearray(signer.encode())).sign(signed.encode())
    return f"{signed}.{_base64(bytes(signature))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
