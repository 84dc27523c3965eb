"""OAuth clients of an authority: how tests add them, and what they send."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from joserfc import jws
from joserfc.jwk import ECKey
from tests.support.authority import Running

CLIENT_CREDENTIALS = "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Client:
    """A client that was added. `secret` is None for one with keys."""

    authority: Running
    client_id: str
    secret: str | None
    facts: dict[str, Any]

    async def post(self, path: str, **form: str | Sequence[str]) -> httpx2.Response:
        """Send a form as this client, by HTTP Basic."""
        assert self.secret is not None
        async with self.authority.as_bearer(None) as http:
            return await http.post(path, data=form, auth=(self.client_id, self.secret))

    async def token(self, **form: str | Sequence[str]) -> dict[str, Any]:
        """Get a token by client_credentials."""
        answer = await self.post("/oauth/token", grant_type=CLIENT_CREDENTIALS, **form)
        assert answer.status_code == httpx2.codes.OK, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def introspect(self, token: str, **form: str) -> dict[str, Any]:
        """Introspect a token."""
        answer = await self.post("/oauth/introspect", token=token, **form)
        assert answer.status_code == httpx2.codes.OK, answer.text
        document: dict[str, Any] = answer.json()
        return document


async def add(authority: Running, client_id: str | None = None, **facts: object) -> Client:
    """Add a client, by default for client_credentials with the scope `orders:read`."""
    body = {
        "client_id": client_id or f"client-{uuid.uuid4().hex[:12]}",
        "grants": [CLIENT_CREDENTIALS],
        "scopes": ["orders:read"],
        **facts,
    }
    answer = await authority.http.post("/v1/clients", json=body)
    assert answer.status_code == httpx2.codes.CREATED, answer.text
    document = answer.json()
    return Client(authority, document["client_id"], document.pop("client_secret"), document)


def new_key(kid: str | None = None) -> ECKey:
    """Generate the key of a client."""
    return ECKey.generate_key("P-256", {} if kid is None else {"kid": kid})


def jwks(*keys: ECKey) -> dict[str, Any]:
    """Return the public key set of a client."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def assertion(
    key: ECKey, client_id: str, audience: object, *, algorithm: str = "ES256", **claims: object
) -> str:
    """Sign an assertion. A claim of None is left out."""
    now = int(time.time())
    all_claims: dict[str, object] = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": now,
        "exp": now + 60,
        "jti": uuid.uuid4().hex,
        **claims,
    }
    header = {"alg": algorithm} | ({"kid": key.kid} if key.kid else {})
    payload = json.dumps({name: each for name, each in all_claims.items() if each is not None})
    return jws.serialize_compact(header, payload.encode(), key, algorithms=[algorithm])


def asserted(signed: str, **form: str) -> dict[str, str]:
    """Return a form for a client's token, with an assertion."""
    return {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": signed,
        **form,
    }
