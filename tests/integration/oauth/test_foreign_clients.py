"""OAuth clients that we did not write, unmodified: Authlib, the MCP SDK and FastMCP."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from authlib.integrations.httpx_client import (  # type: ignore[import-untyped] # no types
    AsyncOAuth2Client,
)
from authlib.integrations.requests_client import (  # type: ignore[import-untyped] # no types
    OAuth2Session,
)
from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped] # no types
from authlib.oauth2.rfc8414 import (  # type: ignore[import-untyped] # no types
    AuthorizationServerMetadata,
)
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from joserfc.jwk import RSAKey
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from tests.support import oauth
from tests.support.authority import Running
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = ("client_secret_basic", "client_secret_post")


@pytest.mark.parametrize("method", METHODS)
async def test_authlib_with_requests_gets_uses_and_revokes_a_token(
    shared: Running, method: str
) -> None:
    client = await oauth.add(
        shared, grants=[oauth.CLIENT_CREDENTIALS, oauth.EXCHANGE], introspect=True
    )

    def converse() -> None:
        with OAuth2Session(
            client.client_id,
            client.secret,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            trust_env=False,
        ) as session:
            token = session.fetch_token(
                f"{shared.url}/oauth/token", grant_type="client_credentials", scope="orders:read"
            )
            introspection = f"{shared.url}/oauth/introspect"
            seen = session.introspect_token(introspection, token=token["access_token"]).json()
            assert (seen["active"], seen["client_id"]) == (True, client.client_id)
            exchanged = session.fetch_token(
                f"{shared.url}/oauth/token",
                grant_type=oauth.EXCHANGE,
                subject_token=token["access_token"],
                subject_token_type=oauth.ACCESS_TOKEN,
            )
            assert exchanged["issued_token_type"] == oauth.ACCESS_TOKEN
            revoked = session.revoke_token(
                f"{shared.url}/oauth/revoke", token=token["access_token"]
            )
            assert revoked.status_code == 200
            for each in (token, exchanged):
                gone = session.introspect_token(introspection, token=each["access_token"]).json()
                assert gone == {"active": False}

    await asyncio.to_thread(converse)


@pytest.mark.parametrize("method", METHODS)
async def test_authlib_with_httpx_gets_a_token(shared: Running, method: str) -> None:
    client = await oauth.add(shared)
    async with AsyncOAuth2Client(
        client.client_id, client.secret, token_endpoint_auth_method=method, trust_env=False
    ) as session:
        token = await session.fetch_token(f"{shared.url}/oauth/token")
    assert token["scope"] == "orders:read"


async def test_authlib_signs_an_assertion(shared: Running) -> None:
    key = RSAKey.generate_key(2048)
    client = await oauth.add(shared, jwks={"keys": [key.as_dict(private=False)]})
    endpoint = f"{shared.url}/oauth/token"
    async with AsyncOAuth2Client(
        client.client_id,
        key.as_pem(private=True).decode(),
        token_endpoint_auth_method=PrivateKeyJWT(
            # By default it signs for an hour, which is refused.
            endpoint,
            claims={"exp": int(time.time()) + 60},
        ),
        trust_env=False,
    ) as session:
        token = await session.fetch_token(endpoint)
    assert token["token_type"] == "Bearer"


async def test_authlibs_validator_accepts_the_metadata(shared: Running) -> None:
    found = (await shared.http.get("/.well-known/oauth-authorization-server")).json()
    metadata = AuthorizationServerMetadata(found | {"issuer": "https://auth.example"})
    for name in metadata.REGISTRY_KEYS:
        # It demands https of each endpoint, which this authority has by a setting.
        if not name.endswith("_endpoint"):
            getattr(metadata, f"validate_{name}", lambda: None)()


class MemoryStorage(TokenStorage):
    """The tokens of an MCP client, for one test."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("the client is registered already")


@asynccontextmanager
async def mcp_server(shared: Running) -> AsyncGenerator[str]:
    """Serve the SDK's MCP server; FastMCP's verifier introspects its tokens. Yield its URL."""
    reader = await oauth.add(shared, grants=[], scopes=[], introspect=True)
    assert reader.secret is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        verifier = IntrospectionTokenVerifier(
            introspection_url=f"{shared.url}/oauth/introspect",
            client_id=reader.client_id,
            client_secret=reader.secret,
            required_scopes=["tools:call"],
            audience=f"{url}/mcp",
        )
        server = MCPServer(
            "tools",
            token_verifier=verifier,
            auth=AuthSettings.model_validate(
                {
                    "issuer_url": shared.url,
                    "resource_server_url": f"{url}/mcp",
                    "required_scopes": ["tools:call"],
                    "validate_token_resource": False,  # the verifier compares the audience
                }
            ),
        )

        @server.tool()
        def double(number: int) -> int:
            """Return twice a number."""
            return 2 * number

        config = uvicorn.Config(
            server.streamable_http_app(), log_config=None, log_level="error", ws="none"
        )
        web = uvicorn.Server(config)
        task = asyncio.create_task(web.serve(sockets=[listening]))

        async def started() -> bool:
            return web.started

        await eventually(started)
        try:
            yield f"{url}/mcp"
        finally:
            web.should_exit = True
            await task


async def call_a_tool(url: str, provider: OAuthClientProvider) -> Any:
    async with (
        httpx2.AsyncClient(auth=provider, timeout=10) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        return await client.call_tool("double", {"number": 21})


@pytest.mark.parametrize("method", METHODS)
async def test_the_mcp_sdks_client_credentials_open_an_mcp_server(
    shared: Running, method: Any
) -> None:
    async with mcp_server(shared) as url:
        client = await oauth.add(shared, scopes=["tools:call"], audience=[url])
        assert client.secret is not None
        storage = MemoryStorage()
        provider = ClientCredentialsOAuthProvider(
            server_url=url,
            storage=storage,
            client_id=client.client_id,
            client_secret=client.secret,
            token_endpoint_auth_method=method,
            scope="tools:call",
            issuer=shared.url,
        )
        result = await call_a_tool(url, provider)
        assert result.structured_content == {"result": 42}
        assert storage.tokens is not None
        found = await oauth.add(shared, introspect=True)
        assert (await found.introspect(storage.tokens.access_token))["aud"] == [url]


async def test_the_mcp_sdks_private_key_opens_an_mcp_server(shared: Running) -> None:
    key = oauth.new_key()
    async with mcp_server(shared) as url:
        client = await oauth.add(
            shared, scopes=["tools:call"], audience=[url], jwks=oauth.jwks(key)
        )
        signed = SignedJWTParameters(
            issuer=client.client_id,
            subject=client.client_id,
            signing_key=key.as_pem(private=True).decode(),
            signing_algorithm="ES256",
        )
        provider = PrivateKeyJWTOAuthProvider(
            server_url=url,
            storage=MemoryStorage(),
            client_id=client.client_id,
            assertion_provider=signed.create_assertion_provider(),
            scope="tools:call",
            issuer=shared.url,
        )
        result = await call_a_tool(url, provider)
        assert result.structured_content == {"result": 42}


async def test_a_revoked_client_is_refused_by_an_mcp_server_at_its_next_call(
    shared: Running,
) -> None:
    async with mcp_server(shared) as url:
        client = await oauth.add(shared, scopes=["tools:call"], audience=[url])
        token = (await client.token())["access_token"]
        headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
        }
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with httpx2.AsyncClient(headers=headers, timeout=10) as http:
            before = await http.post(url, json=ping)
            assert before.status_code != 401
            await shared.revoke(f"client:{client.client_id}")
            assert (await http.post(url, json=ping)).status_code == 401
