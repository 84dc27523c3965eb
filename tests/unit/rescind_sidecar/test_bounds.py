"""What a sidecar remembers is bounded, whatever it is asked for."""

import os
import tracemalloc
from dataclasses import replace

from tests.support import messages

from rescind.core.generations import slots_of
from rescind_sidecar.view import unknowns
from rescind_sidecar.view.records import Held, Records
from rescind_sidecar.view.unknowns import Unknowns

NOW_NS = 5_000_000_000


def held(number: int) -> Held:
    token_hash = number.to_bytes(32)
    record = replace(messages.RECORD, token_hash=token_hash, token_id=f"tok_{number}")
    return Held(record, os.urandom(300), slots_of(record.handles, 64), record.as_of)


def test_memory_does_not_grow_with_distinct_tokens():
    records, strangers = Records(capacity=500), Unknowns(capacity=500)

    def see(first: int, last: int) -> int:
        for number in range(first, last):
            records.put(held(number))
            strangers.add(number.to_bytes(32), NOW_NS)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = see(0, 4_000)
        later = see(4_000, 16_000)
    finally:
        tracemalloc.stop()
    assert (len(records), len(strangers)) == (500, 500)
    assert later < full * 1.05


def test_the_record_that_was_not_used_longest_goes_first():
    records = Records(capacity=2)
    for number in (1, 2):
        records.put(held(number))
    records.get((1).to_bytes(32))
    records.put(held(3))
    assert [records.get(number.to_bytes(32)) is not None for number in (1, 2, 3)] == [
        True,
        False,
        True,
    ]


def test_an_unknown_token_is_forgotten_after_its_time_and_not_before():
    strangers = Unknowns()
    strangers.add(b"a", NOW_NS)
    assert strangers.has(b"a", NOW_NS + unknowns.FOR_NS - 1)
    assert not strangers.has(b"b", NOW_NS)
    assert not strangers.has(b"a", NOW_NS + unknowns.FOR_NS)
    assert len(strangers) == 0


def test_of_too_many_unknown_tokens_the_one_remembered_first_goes():
    strangers = Unknowns(capacity=2)
    for token_hash in (b"a", b"b", b"a", b"c"):
        strangers.add(token_hash, NOW_NS)
    assert [strangers.has(token_hash, NOW_NS) for token_hash in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]
