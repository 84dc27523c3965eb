"""What a host remembers of the ledger: all that may restrict a token, and nothing that cannot."""

import stat
from pathlib import Path

import pytest

from rescind.core import ledger
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.revocation import Effect, Event, Revocation
from rescind_authority.errors import KeyFileError
from rescind_authority.ledger_index import LedgerIndex, digest_of

A, B, TREE = Handle("subject:a"), Handle("tenant:b"), Handle("tree:tok_1")


def event(
    seq: int,
    effect: str = Effect.REVOKE,
    *handles: Handle,
    name: str = "",
    lifts: str | None = None,
    at_us: int = 1,
) -> Event:
    revocation = Revocation(
        revocation_id=name or f"rev_{seq}",
        selector=Selector(handles or (A,)),
        effect=effect,
        reason="",
        actor="admin:a",
        lifts=lifts,
    )
    return Event(epoch=1, seq=seq, at_us=at_us, revocation=revocation)


def seqs(index: LedgerIndex, *handles: Handle, issued: int = 0, as_of: int = 99) -> list[int]:
    return sorted(each.seq for each in index.required(handles, issued_seq=issued, as_of=as_of))


def test_the_index_has_the_later_revokes_and_the_standing_revocations_of_a_token() -> None:
    index = LedgerIndex(None)
    for each in (
        event(1),
        event(2, Effect.SUSPEND),
        event(3, Effect.NARROW),
        event(4, Effect.REVOKE, A, B),
        event(5, Effect.REVOKE, B),
    ):
        index.add(each)
    assert seqs(index, A) == [1, 2, 3]
    assert seqs(index, A, issued=1) == [2, 3]
    assert seqs(index, A, B) == [1, 2, 3, 4, 5]
    assert seqs(index, A, B, as_of=4) == [1, 2, 3, 4]
    assert seqs(index) == []


def test_a_lift_ends_a_standing_revocation_and_never_a_revoke() -> None:
    index = LedgerIndex(None)
    index.add(event(1, name="rev_kill"))
    index.add(event(2, Effect.SUSPEND, name="rev_kill"))
    index.add(event(3, Effect.LIFT, lifts="rev_kill"))
    assert seqs(index, A) == [1]


def test_the_last_change_of_a_token_is_known() -> None:
    index = LedgerIndex(None)
    index.add(event(1, Effect.CHANGED, TREE))
    index.add(event(2, Effect.CHANGED, Handle("token:tok_1")))
    assert (index.changed("tok_1"), index.changed("tok_2")) == (2, None)
    assert seqs(index, TREE) == []


@pytest.mark.parametrize(
    "other",
    [
        event(7, Effect.SUSPEND),
        event(7, Effect.REVOKE, A, B),
        event(8),
        event(7, name="rev_x"),
    ],
)
def test_an_event_is_identified_by_everything_that_decides_what_it_hits(other: Event) -> None:
    index = LedgerIndex(None)
    index.add(event(7))
    assert index.knows(event(7))
    assert not index.knows(other)
    assert digest_of(other) != digest_of(event(7))


def test_events_that_concern_no_token_any_more_are_pruned() -> None:
    index = LedgerIndex(None)
    index.add(event(1, at_us=1))
    index.add(event(2, Effect.SUSPEND, at_us=1))
    index.add(event(3, Effect.CHANGED, TREE, at_us=1))
    index.add(event(4, at_us=9))
    index.prune(5)
    assert seqs(index, A) == [2, 4]
    assert index.changed("tok_1") is None


def test_a_change_that_fails_changes_nothing() -> None:
    index = LedgerIndex(None)
    index.move(ledger.genesis(1))

    def fail() -> None:
        with index.changing():
            index.add(event(1))
            index.move(Position(1, 1, bytes(32)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert index.position == ledger.genesis(1)
    assert seqs(index, A) == []


def test_the_file_is_readable_by_its_owner_alone_and_outlives_a_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger-index"
    one = LedgerIndex(path)
    with one.changing():
        one.move(ledger.genesis(1))
        one.add(event(1))
    one.sync()
    two = LedgerIndex(path)
    assert (two.position, seqs(two, A)) == (ledger.genesis(1), [1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one.close()
    two.close()


def test_a_file_that_is_not_an_index_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger-index"
    path.write_text("not a database, and longer than its header is. " * 9)
    with pytest.raises(KeyFileError, match="ledger-index"):
        LedgerIndex(path)
