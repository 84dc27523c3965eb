"""Who is asked before a revocation: nobody for one holder, a person for many."""

import pytest

from rescind.core.handles import select
from rescind_cli.commanding import wide


@pytest.mark.parametrize(
    "handles", [["*"], ["tenant:t"], ["kind:agent"], ["label:a=b"], ["label:a=b", "tenant:t"]]
)
def test_a_selector_without_a_holder_is_wide(handles: list[str]) -> None:
    assert wide(select(handles))


@pytest.mark.parametrize(
    "handles", [["token:tok_1"], ["subject:agent:a"], ["session:s"], ["tenant:t", "subject:user:1"]]
)
def test_a_selector_with_a_holder_is_not(handles: list[str]) -> None:
    assert not wide(select(handles))
