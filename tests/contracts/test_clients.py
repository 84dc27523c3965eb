"""The port Clients, and the clients that a transaction of the ledger stores."""

import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import Store, new_token
from tests.support.authority import now_us

from rescind_authority.ports.clients import StoredClient


async def _store_client(
    store: Store, client: StoredClient, *, replaces: str | None = None
) -> StoredClient | None:
    """Store a client with a new credential, and return it; None if the transaction refused it."""
    token = new_token()
    await store.issue(token)
    stored = replace(client, credential=token.grant.token_id)
    async with store.transactions.begin() as transaction:
        done = await transaction.put_client(stored, replaces=replaces, actor="test tok_1")
    return stored if done else None


async def _remove(store: Store, client: StoredClient) -> bool:
    return await store.clients.remove_client(
        client.client_id, credential=client.credential, actor="test tok_1"
    )


@pytest.fixture
def client() -> StoredClient:
    return StoredClient(f"billing-{secrets.token_hex(8)}", "", '{"grants":[]}', "admin:root")


async def test_a_client_is_read_as_it_was_stored(store: Store, client: StoredClient) -> None:
    stored = await _store_client(store, client)
    assert stored is not None
    found = await store.clients.read_client(client.client_id)
    assert found is not None
    assert found == replace(stored, created_at_us=found.created_at_us)
    assert abs(found.created_at_us - now_us()) < 60_000_000
    assert await store.clients.read_client("missing") is None


async def test_a_second_client_of_the_same_id_is_refused(
    store: Store, client: StoredClient
) -> None:
    first = await _store_client(store, client)
    assert first is not None
    assert await _store_client(store, client) is None
    assert await _store_client(store, client, replaces="tok_of_another") is None
    found = await store.clients.read_client(client.client_id)
    assert found is not None
    assert found.credential == first.credential


async def test_a_client_that_names_the_stored_credential_replaces_it(
    store: Store, client: StoredClient
) -> None:
    first = await _store_client(store, client)
    assert first is not None
    changed = replace(client, registration='{"grants":["x"]}', created_by="admin:other")
    second = await _store_client(store, changed, replaces=first.credential)
    assert second is not None
    found = await store.clients.read_client(client.client_id)
    assert found is not None
    assert (found.credential, found.registration) == (second.credential, second.registration)
    assert found.created_by == client.created_by


async def test_a_replacement_does_not_bring_a_removed_client_back(
    store: Store, client: StoredClient
) -> None:
    first = await _store_client(store, client)
    assert first is not None
    assert await _remove(store, first)
    assert await _store_client(store, client, replaces=first.credential) is None
    assert await store.clients.read_client(client.client_id) is None


async def test_clients_are_listed_in_the_order_of_their_ids(
    store: Store, client: StoredClient
) -> None:
    ids = [f"{client.client_id}-{each}" for each in "bac"]
    for each in ids:
        assert await _store_client(store, replace(client, client_id=each)) is not None
    found = await store.clients.list_clients(client.client_id, limit=3)
    assert [each.client_id for each in found] == sorted(ids)
    assert len(await store.clients.list_clients(client.client_id, limit=2)) == 2


async def test_a_removed_client_is_gone(store: Store, client: StoredClient) -> None:
    stored = await _store_client(store, client)
    assert stored is not None
    assert await _remove(store, stored)
    assert await store.clients.read_client(client.client_id) is None
    assert not await _remove(store, stored)


async def test_a_client_with_another_credential_is_not_removed(
    store: Store, client: StoredClient
) -> None:
    first = await _store_client(store, client)
    assert first is not None
    second = await _store_client(store, client, replaces=first.credential)
    assert second is not None
    assert not await _remove(store, first)
    found = await store.clients.read_client(client.client_id)
    assert found is not None
    assert found.credential == second.credential


async def test_an_assertion_is_used_once(store: Store, client: StoredClient) -> None:
    jti, ends_us = secrets.token_hex(8), now_us() + 300_000_000
    assert await store.clients.use_assertion(client.client_id, jti, expires_at_us=ends_us)
    assert not await store.clients.use_assertion(client.client_id, jti, expires_at_us=ends_us)
    assert await store.clients.use_assertion("another", jti, expires_at_us=ends_us)
