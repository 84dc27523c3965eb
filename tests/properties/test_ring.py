"""The ring against a list of all events: by anchor it must find what a scan would find."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rescind.core import handles, ledger
from rescind.core.handles import Handle, Selector
from rescind_sidecar.view.ring import Ring

NAMES = ("*", "kind:agent", "tenant:a", "chain:agent:x", "subject:agent:x", "label:k=v")

some_names = st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)
selectors = some_names.map(lambda names: handles.select(names, exact=True))


@settings(max_examples=max(300, settings().max_examples))
@given(
    st.lists(selectors, max_size=20),
    some_names,
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_the_ring_answers_as_a_scan_of_all_events_would(
    history: list[Selector], token: set[Handle], capacity: int, base: int
) -> None:
    start = ledger.replay(ledger.genesis(1), [b"before"] * base)
    ring, positions = Ring(start, capacity=capacity), [start]
    for selector in history:
        positions.append(positions[-1].after(str(selector).encode()))
        ring.append(selector, positions[-1])
    floor = max(base, base + len(history) - capacity)
    assert ring.floor == floor
    for seq in range(base + len(history) + 2):
        hit = any(selector.matches(token) for selector in history[max(0, seq - base) :])
        assert ring.hit_since(frozenset(token), seq) is (seq < floor or hit)
        known = floor <= seq <= base + len(history)
        assert ring.head_at(seq) == (positions[seq - base].head if known else None)
