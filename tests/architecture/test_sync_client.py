"""The clients for threads are generated from those for event loops, and are current."""

import inspect

import pytest
from tests.support import sync_client

from rescind.client import Admin, AsyncAdmin, AsyncBearer, Bearer


def test_every_generated_module_is_up_to_date() -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in sync_client.TARGET.glob("*.py")}
    assert kept == sync_client.generate(), "run: python -m tests.support.sync_client"


def test_a_module_with_something_asynchronous_left_is_not_generated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sync_client, "_REPLACEMENTS", sync_client._REPLACEMENTS[1:])
    with pytest.raises(ValueError, match="has no replacement"):
        sync_client.generate()


@pytest.mark.parametrize(("client", "twin"), [(Admin, AsyncAdmin), (Bearer, AsyncBearer)])
def test_both_clients_have_the_same_calls_with_the_same_parameters(
    client: type, twin: type
) -> None:
    assert signatures(client) == signatures(twin)


def signatures(client: type) -> dict[str, list[str]]:
    """Return the names of the parameters of each public method."""
    return {
        name.removeprefix("a") if name == "aclose" else name: list(
            inspect.signature(method).parameters
        )
        for name, method in inspect.getmembers(client, callable)
        if not name.startswith("_")
    }
