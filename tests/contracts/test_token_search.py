"""The port Tokens, which only Postgres implements: no use case in memory searches for tokens."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.contracts.store import LIFE_US, PostgresStore, heartbeat, new_token, revocation

from rescind.core import handles
from rescind.core.handles import Handle
from rescind.core.revocation import Effect
from rescind.core.token_format import Kind
from rescind_authority.ports.ledger import Expiry
from rescind_authority.ports.revocations import SweepCursor
from rescind_authority.ports.token_search import (
    RevokedMarks,
    ScanIndex,
    ScanPage,
    TokenFilter,
    Use,
)
from rescind_authority.ports.tokens import IssueTimes, NewToken

NEWEST, OLDEST = "tok_~", ""
SECOND_US = 1_000_000
ENDED = "expired"


async def issued(store: PostgresStore, subject: str, number: int) -> list[NewToken]:
    """Store tokens of a subject, one second apart, the oldest first."""
    tokens = sorted((new_token(subject) for _ in range(number)), key=_id)
    async with store.transactions.begin() as transaction:
        snapshot = (await transaction.read_issuance(None, [])).snapshot
        for place, token in enumerate(tokens):
            at_us = snapshot.at_us - (number - place) * SECOND_US
            times = IssueTimes(at_us, snapshot.as_of, at_us + LIFE_US)
            await transaction.insert_token(token, times)
    return tokens


async def issued_child(store: PostgresStore, parent: NewToken) -> NewToken:
    """Store a token that was delegated from another one."""
    child = new_token(f"{parent.grant.subject}/helper")
    grant = child.grant
    inherited = [each for each in parent.grant.handles if each.startswith(("tree:", "chain:"))]
    granted = replace(
        grant,
        handles=tuple(sorted({*grant.handles, *inherited})),
        lineage=(parent.grant.token_id,),
        chain=(parent.grant.subject,),
    )
    child = replace(child, grant=granted)
    await store.issue(child)
    return child


async def times(store: PostgresStore, token: NewToken) -> int:
    """Read when a token was issued."""
    return (await store.token(token.token_hash)).issued_at_us


def subject_of(tokens: Sequence[NewToken]) -> Handle:
    """Return the handle that these tokens, and no others, have."""
    return Handle(f"subject:{tokens[0].grant.subject}")


def newest_first(tokens: Sequence[NewToken]) -> tuple[str, ...]:
    return tuple(sorted(map(_id, tokens), reverse=True))


def _id(token: NewToken) -> str:
    return token.grant.token_id


@pytest.fixture
def subject() -> str:
    return f"agent:{secrets.token_hex(8)}"


# Filters -----------------------------------------------------------------------------------------


async def test_a_token_is_found_by_all_of_its_handles_together(
    postgres_store: PostgresStore, subject: str
) -> None:
    token, _ = await issued(postgres_store, subject, 2)
    tokens, own = postgres_store.tokens, Handle(f"token:{_id(token)}")
    both = TokenFilter((own, subject_of([token])))
    assert await tokens.few(both, before=NEWEST, most=9, bound=9) == (_id(token),)
    other = TokenFilter((own, Handle("subject:agent:nobody")))
    assert await tokens.few(other, before=NEWEST, most=9, bound=9) == ()


async def test_a_period_begins_with_its_first_microsecond_and_ends_before_its_last(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    first_us, last_us = [await times(postgres_store, each) for each in (tokens[0], tokens[2])]
    wanted = TokenFilter((subject_of(tokens),), issued_after_us=first_us, issued_before_us=last_us)
    found = await postgres_store.tokens.few(wanted, before=NEWEST, most=9, bound=9)
    assert found == newest_first(tokens[:2])
    walked = await postgres_store.tokens.walk(
        wanted, ScanIndex("subject", subject), before=NEWEST, after=OLDEST, steps=99, most=9
    )
    assert walked == ScanPage(newest_first(tokens[:2]), None)


async def test_each_token_is_in_one_state(postgres_store: PostgresStore, subject: str) -> None:
    tokens = await issued(postgres_store, subject, 4)
    active, suspended, revoked, expired = tokens
    await postgres_store.commit(
        revocation(f"token:{_id(suspended)}", Effect.SUSPEND), revocation(f"token:{_id(revoked)}")
    )
    await postgres_store.change(Expiry(_id(expired), None))
    expected = {
        "active": active,
        "suspended": suspended,
        "revoked": revoked,
        ENDED: expired,
    }
    for state, token in expected.items():
        wanted = TokenFilter((subject_of(tokens),), state=state)
        found = await postgres_store.tokens.few(wanted, before=NEWEST, most=9, bound=9)
        assert found == (_id(token),), state
        walked = await postgres_store.tokens.walk(
            wanted, ScanIndex("subject", subject), before=NEWEST, after=OLDEST, steps=99, most=9
        )
        assert walked.token_ids == (_id(token),), state


# Cursors -----------------------------------------------------------------------------------------


async def test_a_walk_takes_at_most_its_number_of_steps_and_returns_where_it_stopped(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 5)
    expected, before, found = newest_first(tokens), NEWEST, list[str]()
    pages = 0
    while True:
        page = await postgres_store.tokens.walk(
            TokenFilter(),
            ScanIndex("subject", subject),
            before=before,
            after=OLDEST,
            steps=2,
            most=9,
        )
        found += page.token_ids
        pages += 1
        if page.last is None:
            break
        assert page.last == found[-1]
        before = page.last
    assert (tuple(found), pages) == (expected, 3)


async def test_a_walk_passes_over_tokens_that_do_not_match(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 4)
    oldest = min(tokens, key=_id)
    page = await postgres_store.tokens.walk(
        TokenFilter((Handle(f"token:{_id(oldest)}"),)),
        ScanIndex("subject", subject),
        before=NEWEST,
        after=OLDEST,
        steps=3,
        most=9,
    )
    assert page == ScanPage((), newest_first(tokens)[2])


async def test_a_walk_stays_between_its_ends_and_returns_no_more_than_asked(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 4)
    ids = newest_first(tokens)
    page = await postgres_store.tokens.walk(
        TokenFilter(),
        ScanIndex("subject", subject),
        before=ids[0],
        after=ids[3],
        steps=99,
        most=9,
    )
    assert page == ScanPage(ids[1:3], None)
    page = await postgres_store.tokens.walk(
        TokenFilter(),
        ScanIndex("subject", subject),
        before=NEWEST,
        after=OLDEST,
        steps=99,
        most=2,
    )
    assert page.token_ids == ids[:2]


async def test_few_tokens_are_listed_below_a_cursor_and_more_than_the_bound_not_at_all(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    ids, wanted = newest_first(tokens), TokenFilter((subject_of(tokens),))
    few = postgres_store.tokens.few
    assert await few(wanted, before=ids[0], most=1, bound=3) == ids[1:2]
    assert await few(wanted, before=NEWEST, most=9, bound=3) == ids
    assert await few(wanted, before=NEWEST, most=9, bound=2) is None


# Counts ------------------------------------------------------------------------------------------


async def test_counts_stop_at_their_bound(postgres_store: PostgresStore, subject: str) -> None:
    tokens = await issued(postgres_store, subject, 3)
    search, named = postgres_store.tokens, [subject_of(tokens)]
    along = ScanIndex("subject", subject)
    assert [await search.count(named, most=most) for most in (2, 3, 9)] == [2, 3, 3]
    assert [await search.count_along(along, most=most) for most in (2, 3, 9)] == [2, 3, 3]


async def test_an_estimate_is_a_number_of_tokens(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    for named in ([], [subject_of(tokens)]):
        assert await postgres_store.tokens.estimate(named) >= 0


async def test_a_sample_counts_the_tokens_that_it_examined(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    wanted = TokenFilter((subject_of(tokens),), state="active")
    sample = await postgres_store.tokens.sample(wanted, size=1_000_000)
    assert (sample.having, sample.wanted) == (3, 3)
    assert sample.looked_at >= sample.alike >= sample.wanted
    assert sample.looked_at == await postgres_store.tokens.count_along(
        ScanIndex("id", ""), most=1_000_000
    )


async def test_children_are_listed_by_parent_oldest_first_and_below_a_cursor(
    postgres_store: PostgresStore, subject: str
) -> None:
    parent, childless = await issued(postgres_store, subject, 2)
    ids = sorted([_id(await issued_child(postgres_store, parent)) for _ in range(3)])
    children = postgres_store.tokens.children
    parents = [_id(parent), _id(childless)]
    assert await children(parents, most=9) == {_id(parent): tuple(ids)}
    assert await children(parents, most=2) == {_id(parent): tuple(ids[:2])}
    assert await children(parents, most=9, after=ids[1]) == {_id(parent): tuple(ids[2:])}


async def test_only_an_admin_token_that_has_not_ended_is_an_administrator(
    postgres_store: PostgresStore, subject: str
) -> None:
    admin = new_token(f"admin:{subject}", kind=Kind.ADMIN)
    (agent,) = await issued(postgres_store, subject, 1)
    await postgres_store.issue(admin)
    any_admin, kind = postgres_store.tokens.any_admin, Handle("kind:admin")
    assert not await any_admin([kind, subject_of([agent])])
    assert await any_admin([kind, subject_of([admin])])
    await postgres_store.change(Expiry(_id(admin), None))
    assert not await any_admin([kind, subject_of([admin])])


async def test_marks_are_complete_once_the_sweep_has_reached_each_revoke(
    postgres_store: PostgresStore,
) -> None:
    (entry,) = await postgres_store.commit(revocation("tenant:a"))
    assert not (await postgres_store.tokens.revoked_marks()).complete
    async with postgres_store.sweeps.turn() as turn:
        assert turn is not None
        await turn.store_progress(SweepCursor(entry.event.seq, None))
    marks = await postgres_store.tokens.revoked_marks()
    assert marks == RevokedMarks(True, marks.suspending, marks.tokens)


# Radius ------------------------------------------------------------------------------------------


async def test_the_radius_of_a_selector_is_what_it_would_hit(
    postgres_store: PostgresStore, subject: str
) -> None:
    parent, _ = await issued(postgres_store, subject, 2)
    await issued_child(postgres_store, parent)
    named = [Handle(f"chain:{subject}")]
    found = await postgres_store.tokens.radius(named, issued_before_us=None, most=9)
    assert (found.tokens, found.exact) == (3, True)
    assert (found.subjects, found.delegated, found.used) == (2, 1, 0)


async def test_a_radius_above_its_bound_is_not_exact(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    found = await postgres_store.tokens.radius([subject_of(tokens)], issued_before_us=None, most=2)
    assert not found.exact
    assert found.tokens >= 3


async def test_tokens_that_ended_or_were_revoked_before_are_outside_the_radius(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    await postgres_store.change(Expiry(_id(tokens[0]), None))
    await postgres_store.commit(revocation(f"token:{_id(tokens[1])}"))
    found = await postgres_store.tokens.radius([subject_of(tokens)], issued_before_us=None, most=9)
    assert (found.tokens, found.exact) == (1, True)


async def test_a_radius_is_that_of_the_event_at_its_seq(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 2)
    (entry,) = await postgres_store.commit(revocation(f"subject:{subject}"))
    await issued(postgres_store, subject, 1)  # after the event, which does not hit it
    named, radius = [subject_of(tokens)], postgres_store.tokens.radius
    then = await radius(named, issued_before_us=None, most=9, seq=entry.event.seq)
    now = await radius(named, issued_before_us=None, most=9)
    assert (then.tokens, now.tokens) == (2, 1)


async def test_a_cutoff_leaves_younger_tokens_out_of_the_radius(
    postgres_store: PostgresStore, subject: str
) -> None:
    tokens = await issued(postgres_store, subject, 3)
    cutoff_us = await times(postgres_store, tokens[2])
    found = await postgres_store.tokens.radius(
        [subject_of(tokens)], issued_before_us=cutoff_us, most=9
    )
    assert found.tokens == 2


async def test_credentials_of_sidecars_are_spared_and_counted(
    postgres_store: PostgresStore, subject: str
) -> None:
    tenant = Handle(f"tenant:{secrets.token_hex(8)}")
    for credential in (True, False):
        token = new_token(subject)
        names = handles.of_token(
            token_id=_id(token),
            kind=Kind.SERVICE,
            subject=subject,
            tenant=tenant.partition(":")[2],
            client=None,
            session=None,
            labels=(),
            credential=credential,
        )
        granted = replace(token.grant, kind=Kind.SERVICE, handles=names)
        await postgres_store.issue(replace(token, grant=granted))
    found = await postgres_store.tokens.radius([tenant], issued_before_us=None, most=9)
    assert (found.tokens, found.spared_credentials) == (1, 1)


async def test_a_use_is_recorded_with_its_service_and_never_ahead_of_time(
    postgres_store: PostgresStore, subject: str
) -> None:
    (token,) = await issued(postgres_store, subject, 1)
    instance = secrets.token_bytes(16)
    await postgres_store.leases.beat([heartbeat(instance, 1)])
    at_us = (await postgres_store.ledger.tip()).at_us
    await postgres_store.tokens.mark_used(
        [Use(_id(token), instance, at_us + LIFE_US), Use("tok_unknown", instance, at_us)]
    )
    used_us = (await postgres_store.token(token.token_hash)).last_used_at_us
    assert used_us is not None
    assert at_us <= used_us <= (await postgres_store.ledger.tip()).at_us
    found = await postgres_store.tokens.radius([subject_of([token])], issued_before_us=None, most=9)
    assert (found.used, found.services) == (1, ("search",))
