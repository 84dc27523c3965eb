"""RESCIND_GRPC without grpcio is refused before a process starts."""

import pytest

from rescind.client.problems import MissingExtraError
from rescind_sidecar.grpc import supervisor
from rescind_sidecar.stats.counters import Counters


async def test_without_grpcio_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"RESCIND_GRPC .* pip install 'rescind\[grpc\]'"):
        async with supervisor.serving("127.0.0.1:0", environment={}, tally=Counters()):
            pass
