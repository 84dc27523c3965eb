"""What many records have in common is kept once, also what a narrow left of them."""

from dataclasses import replace

import pytest
from tests.support.messages import RECORD

from rescind.client.interning import Interner


@pytest.mark.parametrize("removed", [(), ("tools:*",)])
def test_equal_records_share_their_granted_and_effective_scopes(removed: tuple[str, ...]) -> None:
    shared = Interner()
    one, other = (
        shared.intern_record(
            replace(RECORD, granted=frozenset(list(RECORD.granted)), removed=removed)
        )
        for _ in range(2)
    )
    assert one == other
    assert one.granted is other.granted
    assert one.scopes is other.scopes
    assert one.scopes == (RECORD.granted if not removed else {"files:read"})
