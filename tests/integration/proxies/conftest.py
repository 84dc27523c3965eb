"""One sidecar, one service and one of each proxy for all tests of the folder."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.proxies import site
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import PROXIES, Proxy
from tests.support.proxies.site import Site


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run what is behind the proxies; each proxy starts when a test needs it."""
    async with site.held(site.running(tmp_path_factory.mktemp("proxies"))) as running:
        yield running


@pytest.fixture(params=PROXIES, ids=lambda proxy: proxy.name)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Return each proxy in turn; skip those that are not installed."""
    found: Proxy = request.param
    if found.find() is None:
        pytest.skip(f"{found.name} is not installed: see .ci/run")
    return found


@pytest.fixture
def caller(behind: Site, proxy: Proxy) -> Caller:
    """Return a caller of the proxy, which runs from its shipped files."""
    return behind.caller(proxy)
