"""The record of a token that was expired early, or of a secret that was rotated away."""

from dataclasses import replace

import pytest
from tests.support.grants import grant
from tests.support.messages import RECORD, TOKEN_HASH

from rescind.core import verdict
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import ENDED, Event, Restriction, Revocation
from rescind.core.verdict import Denied, Reason
from rescind_authority.ports.tokens import Candidate, Ended, Snapshot, StoredToken, TokenState
from rescind_authority.usecases.lookups.resolver import record_of

ISSUED_US = 1_000_000
LATER_US = ISSUED_US + 3_600_000_000
TOKEN = StoredToken(
    token_hash=TOKEN_HASH,
    grant=grant(
        RECORD.token_id,
        kind=RECORD.kind,
        subject="agent:bot",
        scopes=("read",),
        names=(Handle("*"), Handle("subject:agent:bot")),
    ),
    issued_at_us=ISSUED_US,
    issued_seq=3,
    expires_at_us=LATER_US,
    last_used_at_us=None,
)
SUSPENDED = Event(
    epoch=1,
    seq=4,
    at_us=ISSUED_US,
    revocation=Revocation(
        revocation_id="rev_4",
        selector=Selector((Handle("subject:agent:bot"),)),
        effect="suspend",
        reason="",
        actor="admin:ada",
    ),
)


def snapshot(token: StoredToken, *events: Event) -> tuple[TokenState, Snapshot]:
    state = TokenState(token, tuple(Candidate(event, ISSUED_US) for event in events))
    return state, Snapshot(1, 9, ISSUED_US, (state,))


def test_an_end_at_a_position_is_final_although_the_clock_shows_time_left() -> None:
    ended = replace(TOKEN, ended=Ended(5, "rev_5"))
    record = record_of(*snapshot(ended))
    assert record.restrictions == (Restriction("rev_5", ENDED, 5),)
    assert record.expires_at_us == LATER_US
    assert (record.live, verdict.judge_state(record)) == (False, Denied(Reason.EXPIRED))


def test_an_end_from_before_positions_were_kept_is_final_too() -> None:
    record = record_of(*snapshot(replace(TOKEN, ended=Ended(0, ""))))
    assert record.restrictions == (Restriction("", ENDED, 0),)
    assert verdict.judge_state(record) == Denied(Reason.EXPIRED)


def test_another_revocation_of_an_ended_token_is_reported_as_before() -> None:
    record = record_of(*snapshot(replace(TOKEN, ended=Ended(5, "rev_5")), SUSPENDED))
    assert {each.effect for each in record.restrictions} == {ENDED, "suspend"}
    assert verdict.judge_state(record) == Denied(Reason.SUSPENDED)


@pytest.mark.parametrize("events", [(), (SUSPENDED,)])
def test_a_token_that_was_not_ended_has_only_the_restrictions_of_revocations(
    events: tuple[Event, ...],
) -> None:
    record = record_of(*snapshot(TOKEN, *events))
    assert len(record.restrictions) == len(events)
