"""Sessions end when they were not used for a while, and when their subject has too many."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import timed_ends
from tests.support.timed_ends import S_US, TimedEnds

from rescind.core.token_format import Kind
from rescind_authority.errors import InvalidRequestError
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.tokens import StoredToken
from rescind_authority.usecases.access.authoriser import Actor
from rescind_authority.usecases.tokens import last_used as authority_usage
from rescind_authority.usecases.tokens.end_timer import USE_REPORTED_WITHIN_S
from rescind_authority.usecases.tokens.issue import IssueCommand, Issuer, SessionLimits
from rescind_authority.usecases.tokens.new_token import Minted, TokenGenerator
from rescind_sidecar.usecases.lookup import usage_reports as sidecar_used
from rescind_sidecar.view.view import WINDOW_NS

HOUR_S = 3_600


class Edge:
    minting = bytes(32)
    accepted = (minting,)


class World(TimedEnds):
    """One Postgres, and authorities that issue and end."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        super().__init__(tasks)
        self.drawn = 0
        self.admin: Actor | None = None

    def entropy(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_256(self.drawn.to_bytes(4)).digest(size)

    def authority(self, limits: SessionLimits) -> Issuer:
        _, timer = self.start(self.entropy)
        mint = TokenGenerator(
            clock=self.clock, entropy=self.entropy, edge_keys=Edge(), prefix="rsc"
        )
        return Issuer(
            self.postgres, mint=mint, limits=limits, on_sessions_ended=lambda: timer.expect(0)
        )

    async def log_in(self, issuer: Issuer, subject: str = "user:42", **facts: Any) -> str:
        wish = IssueCommand(**(WISH | {"subject": subject} | facts))
        idempotency = IdempotentRequest(Key("admin:ada", f"{self.drawn}"), bytes(32))
        outcome = await issuer.issue(wish, actor=await self._admin(issuer), idempotency=idempotency)
        assert isinstance(outcome, Minted)
        return outcome.token.grant.token_id

    async def _admin(self, issuer: Issuer) -> Actor:
        if self.admin is None:
            wish = IssueCommand(
                **(WISH | {"subject": "admin:ada", "kind": Kind.ADMIN, "scopes": SCOPES})
            )
            token = (await issuer.make_admin(wish, actor="test")).token
            self.admin = Actor(
                token.grant.subject,
                token.grant.token_id,
                frozenset(token.grant.scopes),
                token.token_hash,
            )
        return self.admin

    def token(self, token_id: str) -> StoredToken:
        found = self.cluster.tables.known.named(token_id)
        assert found is not None
        return found

    def use(self, token_id: str) -> None:
        """Note a use now."""
        tokens, token = self.cluster.tables.tokens, self.token(token_id)
        tokens[token.token_hash] = replace(token, last_used_at_us=self.clock.wall_us())

    def live(self, *token_ids: str) -> list[bool]:
        return [self.token(each).ended is None for each in token_ids]


SCOPES = ["rescind:issue"]
WISH: dict[str, Any] = {
    "subject": "user:42",
    "kind": Kind.SESSION,
    "scopes": ["app:use"],
    "audience": [],
    "ttl_s": 30 * 24 * HOUR_S,
    "labels": {},
}
IDLE_S = 30 * 60
IDLE = SessionLimits(idle_s=IDLE_S)
LATEST_S = IDLE_S + USE_REPORTED_WITHIN_S


def play(story: Callable[[World], Awaitable[None]]) -> None:
    timed_ends.play(World, story)


def test_an_unused_session_ends_by_one_event_that_states_the_reason() -> None:
    async def story(here: World) -> None:
        issuer = here.authority(IDLE)
        here.authority(IDLE)
        session = await here.log_in(issuer)
        await asyncio.sleep(LATEST_S - 1)
        assert (here.live(session), here.ends()) == ([True], [])
        await asyncio.sleep(7)
        (event,) = here.ends()
        ended = here.token(session).ended
        assert ended is not None
        assert (ended.seq, event.revocation.selector.handles) == (
            event.seq,
            (f"tree:{session}",),
        )
        assert "not used" in event.revocation.reason

    play(story)


def test_a_session_in_use_does_not_end_however_late_its_use_is_known() -> None:
    async def story(here: World) -> None:
        issuer = here.authority(IDLE)
        session = await here.log_in(issuer)
        for _ in range(20):
            # Used just in time, and known as late as that may be.
            await asyncio.sleep(LATEST_S - 2)
            here.use(session)
            assert here.live(session) == [True]
        await asyncio.sleep(LATEST_S + 30)
        assert here.live(session) == [False]

    play(story)


def test_a_use_is_reported_within_the_time_that_is_added_to_the_limit() -> None:
    entry_s, spread, between_s = WINDOW_NS / 1e9, 1.0, 15
    report_s = sidecar_used._INTERVAL_S * spread
    write_s = authority_usage._INTERVAL_S
    assert entry_s + 2 * report_s + write_s + between_s < USE_REPORTED_WITHIN_S


def test_a_session_that_expired_gets_no_event_for_its_idle_time() -> None:
    async def story(here: World) -> None:
        issuer = here.authority(IDLE)
        session = await here.log_in(issuer, ttl_s=60)
        await asyncio.sleep(2 * LATEST_S)
        assert (here.token(session).ended, here.ends()) == (None, [])

    play(story)


@pytest.mark.parametrize(
    ("limits", "facts", "idle_s"),
    [
        (IDLE, {}, IDLE_S),
        (IDLE, {"idle_s": 0}, None),
        (IDLE, {"idle_s": 60}, 60),
        (SessionLimits(), {}, None),
        (SessionLimits(), {"idle_s": 90.5}, 90.5),
        (IDLE, {"kind": Kind.AGENT, "subject": "agent:a"}, None),
    ],
)
def test_the_idle_time_is_that_of_the_issuer_or_else_of_the_authority(
    limits: SessionLimits, facts: dict[str, Any], idle_s: float | None
) -> None:
    async def story(here: World) -> None:
        session = await here.log_in(here.authority(limits), **facts)
        assert here.token(session).grant.idle_us == (None if idle_s is None else idle_s * S_US)

    play(story)


@pytest.mark.parametrize(
    "facts",
    [
        {"idle_s": -1},
        {"idle_s": 59},
        {"idle_s": 367 * 86_400},
        {"idle_s": float("nan")},
        {"idle_s": 600, "kind": Kind.AGENT, "subject": "agent:a"},
        {"idle_s": 0, "kind": Kind.PERSONAL},
    ],
)
def test_an_invalid_idle_time_is_refused(facts: dict[str, Any]) -> None:
    async def story(here: World) -> None:
        with pytest.raises(InvalidRequestError, match="idle"):
            await here.log_in(here.authority(IDLE), **facts)
        assert len(here.cluster.tables.tokens) == 1

    play(story)


def test_the_least_recently_used_session_makes_room_for_a_new_one() -> None:
    async def story(here: World) -> None:
        issuer = here.authority(SessionLimits(most=3))
        first, second, third = [await here.log_in(issuer) for _ in range(3)]
        other = await here.log_in(issuer, "user:7")
        key = await here.log_in(issuer, kind=Kind.PERSONAL)
        await asyncio.sleep(60)
        here.use(first)
        fourth = await here.log_in(issuer)
        await asyncio.sleep(1)
        assert here.live(first, second, third, fourth, other, key) == [True, False, *[True] * 4]
        (event,) = here.ends()
        assert "logged in elsewhere" in event.revocation.reason

    play(story)


def test_two_concurrent_authorities_leave_no_subject_above_its_session_limit() -> None:
    async def story(here: World) -> None:
        issuers = [here.authority(SessionLimits(most=5)) for _ in range(2)]
        await here.log_in(issuers[0])
        sessions = await asyncio.gather(*(here.log_in(issuers[n % 2]) for n in range(40)))
        await asyncio.sleep(6)
        assert sum(here.live(*sessions)) == 5
        assert len(here.ends()) == 36

    play(story)


def test_an_end_that_no_authority_committed_is_committed_by_the_next_one() -> None:
    async def story(here: World) -> None:
        issuer = here.authority(SessionLimits(most=1))
        first = await here.log_in(issuer)
        for task in here.running:
            task.cancel()
        await here.log_in(issuer)
        # Its row says so already: no look-up finds it good.
        assert here.token(first).expires_at_us <= here.clock.wall_us()
        here.authority(SessionLimits(most=1))
        await asyncio.sleep(1)
        assert here.live(first) == [False]

    play(story)
