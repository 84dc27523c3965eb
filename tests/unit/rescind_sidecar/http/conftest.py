"""A data plane in the test's own loop, over a verifier that holds its world in memory."""

from collections.abc import AsyncIterator, Collection
from typing import cast

import pytest
from tests.support.http_exchange import served

from rescind.client.verifier import Verifier
from rescind.testing import FakeVerifier
from rescind_sidecar.http.operations_relay import Relay
from rescind_sidecar.http.routes import DataPlane

NOBODY = b"\0rescind test, nobody listens here"


def plane(
    verifier: FakeVerifier,
    *,
    stale_status: int = 503,
    audiences: Collection[str] = (),
    introspection_on_loopback: bool = False,
    introspection_exp: bool = False,
) -> DataPlane:
    return DataPlane(
        cast("Verifier", verifier),
        Relay(NOBODY),
        stale_status=stale_status,
        address_header="x-real-ip",
        audiences=audiences,
        introspection_on_loopback=introspection_on_loopback,
        introspection_exp=introspection_exp,
    )


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
async def port(verifier: FakeVerifier) -> AsyncIterator[int]:
    async with served(plane(verifier)) as (port, _):
        yield port
