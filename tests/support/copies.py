"""A sidecar process that can be copied with its memory, and the rules for it and its copies.

The rules are checked over Postgres in memory and over the real one, with the same results.
"""

import copy
import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rescind.core import lease
from rescind.core.ledger import Position
from rescind.core.receipt import Outcome
from rescind.wire.heartbeat import MAX_TRAIL, Ack, Heartbeat, NoLease, Release, Reply
from rescind_authority.ports.leases import Receipts
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.usecases.enforcement.wait import EnforcementWait
from rescind_authority.usecases.leases.grant import Granter
from rescind_sidecar.usecases.instance import Attempt, Attempts, Numbers

SEEN_NS = 10**12


@dataclass
class Process:
    """A sidecar's memory of its heartbeats, in the product's own classes."""

    instance: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    numbers: Numbers = field(default_factory=Numbers)
    attempts: Attempts = field(default_factory=Attempts)
    applied: Position | None = None
    latest: Attempt | None = None

    def copied(self) -> "Process":
        """Return a copy with all memory."""
        return copy.deepcopy(self)

    def heartbeat(self) -> Heartbeat:
        """Return the next heartbeat, which may never be delivered."""
        self.latest = self.attempts.begin(secrets.token_bytes(16), now_ns=0, applied=self.applied)
        return Heartbeat(
            instance=self.instance,
            nonce=self.latest.nonce,
            counter=next(self.numbers),
            applied=self.applied,
            service="search",
            host="host",
            version="0",
            posture="strict",
            trail=self.latest.trail,
        )

    def ack(self) -> Ack:
        assert self.applied is not None
        return Ack(self.instance, next(self.numbers), self.applied, self.attempts.trail)

    def release(self) -> Release:
        return Release(self.instance, next(self.numbers), self.attempts.trail)


@dataclass
class LeaseAuthority:
    """An authority, and its receipts."""

    granter: Granter
    receipts: Receipts

    async def beat(self, process: Process, *, is_lost: bool = False) -> Reply | NoLease | None:
        """Send a heartbeat and receive the answer, unless the answer is lost."""
        answer = await self.granter.answer(process.heartbeat())
        if isinstance(answer, Reply) and not is_lost:
            assert process.latest is not None
            process.attempts.answered(process.latest)
        return answer

    async def leased(self, process: Process) -> bool:
        return isinstance(await self.beat(process), Reply)

    async def over(self, process: Process) -> bool:
        """Return True if the answer to a heartbeat is that the process's id is over."""
        answer = await self.beat(process)
        return isinstance(answer, NoLease) and answer.over

    async def wait(self) -> EnforcementWait:
        """Begin a wait for an event that is committed now."""
        seen = await self.receipts.waiting()
        target = CommittedEvent("rev_1", seen.epoch, seen.seq + 1, seen.at_us)
        return EnforcementWait(
            target, seen, seen_ns=SEEN_NS, unchanged_since_ns={}, rows_are_current=True
        )

    async def swept(self) -> int:
        """Delete the rows of all instances, as after an hour of silence; return how many."""
        rows = (await self.receipts.waiting()).rows
        await self.receipts.delete_ended({instance: row.version for instance, row in rows.items()})
        return len(rows)

    async def rows(self, wait: EnforcementWait) -> None:
        wait.apply_rows((await self.receipts.waiting()).rows, now_ns=SEEN_NS)


Rule = Callable[[LeaseAuthority], Awaitable[None]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    RULES[check.__name__] = check
    return check


@rule
async def recorded_heartbeats_do_not_revive_a_released_instance_after_its_row_was_deleted(
    authority: LeaseAuthority,
) -> None:
    process = Process()
    recorded = [process.heartbeat() for _ in range(5)]
    for message in recorded[:3]:
        assert isinstance(await authority.granter.answer(message), Reply)
    release = process.release()
    await authority.granter.answer(release)
    assert await authority.swept() == 1
    for message in (*recorded, process.heartbeat()):
        answer = await authority.granter.answer(message)
        assert isinstance(answer, NoLease)
        assert answer.over
    await authority.granter.answer(release)
    assert await authority.swept() == 0


@rule
async def a_process_whose_row_was_deleted_while_it_was_silent_learns_that_its_id_ended(
    authority: LeaseAuthority,
) -> None:
    process, other = Process(), Process()
    recorded = process.heartbeat()
    assert isinstance(await authority.granter.answer(recorded), Reply)
    assert await authority.swept() == 1
    assert await authority.over(process)
    assert not isinstance(await authority.granter.answer(recorded), Reply)
    assert await authority.leased(other)
    assert await authority.swept() == 1


@rule
async def a_single_process_is_never_mistaken_for_two(authority: LeaseAuthority) -> None:
    process = Process()
    assert await authority.leased(process)
    late = [process.heartbeat() for _ in range(3)]
    assert await authority.leased(process)
    for message in (*late, late[0]):  # after a later one, in any order, and twice
        answer = await authority.granter.answer(message)
        assert isinstance(answer, NoLease)
        assert not answer.over
        assert answer.counter <= process.numbers.last
    assert await authority.leased(process)


@rule
async def lost_heartbeats_and_lost_answers_do_not_end_the_instance(
    authority: LeaseAuthority,
) -> None:
    process = Process()
    assert await authority.leased(process)
    for is_lost in range(3 * MAX_TRAIL):
        if is_lost % 5 == 0:
            assert isinstance(await authority.beat(process, is_lost=True), Reply)
        process.heartbeat()
        next(process.numbers)  # an acknowledgement between
    assert await authority.leased(process)
    assert await authority.leased(process)


@rule
async def an_answer_lost_before_a_long_silence_does_not_end_the_instance(
    authority: LeaseAuthority,
) -> None:
    process = Process()
    assert isinstance(await authority.beat(process, is_lost=True), Reply)
    for _ in range(5 * MAX_TRAIL):
        process.heartbeat()
    assert await authority.leased(process)
    assert await authority.leased(process)


@rule
async def an_identical_repeated_heartbeat_has_no_effect(authority: LeaseAuthority) -> None:
    process = Process()
    message = process.heartbeat()
    assert isinstance(await authority.granter.answer(message), Reply)
    for _ in range(3):
        assert await authority.granter.answer(message) is None
    assert isinstance(await authority.beat(process, is_lost=True), Reply)
    assert await authority.leased(process)


@rule
async def one_counter_with_two_nonces_ends_the_id_for_both_copies(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    assert await authority.leased(one)
    assert await authority.over(two)
    assert await authority.over(one)
    assert await authority.over(two)


@rule
async def a_copy_with_a_higher_counter_ends_the_id_at_its_first_heartbeat(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    assert await authority.leased(one)
    for _ in range(9):
        next(two.numbers)
    assert await authority.over(two)
    assert await authority.over(one)


@rule
async def a_copy_that_lost_many_heartbeats_is_detected_too(authority: LeaseAuthority) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    assert await authority.leased(one)
    for _ in range(3 * MAX_TRAIL):
        two.heartbeat()
    assert await authority.over(two)


@rule
async def the_first_of_two_copies_continues_until_the_other_one_sends_a_heartbeat(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    for _ in range(5):
        assert await authority.leased(two)
    answer = await authority.beat(one)
    # It is behind, perhaps only late, so the id is not over; but its heartbeats never counted.
    assert isinstance(answer, NoLease)
    assert not answer.over
    assert answer.counter > one.numbers.last
    assert await authority.leased(two)


@rule
async def neither_a_lower_counter_of_a_copy_nor_a_replay_ends_the_id(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    old = one.heartbeat()
    assert isinstance(await authority.granter.answer(old), Reply)
    two = one.copied()
    for _ in range(3):
        assert await authority.leased(one)
    for message in (old, two.heartbeat()):
        answer = await authority.granter.answer(message)
        assert isinstance(answer, NoLease)
        assert not answer.over
    assert await authority.leased(one)


@rule
async def an_acknowledgement_settles_only_the_row_of_the_process_that_sent_it(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    assert await authority.leased(two)  # its lease precedes what is committed now
    wait = await authority.wait()
    one.applied = two.applied = Position(1, wait.target.seq, bytes(32))
    wait.acknowledge(one.instance, received_ns=SEEN_NS, nonces=one.ack().trail or ())
    assert wait.pending == {one.instance}
    wait.acknowledge(two.instance, received_ns=SEEN_NS, nonces=two.ack().trail or ())
    assert wait.is_over(SEEN_NS)


@rule
async def an_acknowledgement_counts_after_some_more_heartbeats(authority: LeaseAuthority) -> None:
    process = Process()
    assert await authority.leased(process)
    wait = await authority.wait()
    process.applied = Position(1, wait.target.seq, bytes(32))
    for is_lost in (False, True, False):
        await authority.beat(process, is_lost=is_lost)
    wait.acknowledge(process.instance, received_ns=SEEN_NS, nonces=process.ack().trail or ())
    assert wait.is_over(SEEN_NS)


@rule
async def an_id_that_two_processes_share_is_waited_for_until_its_leases_lapse(
    authority: LeaseAuthority,
) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    wait = await authority.wait()
    assert await authority.leased(one)
    assert await authority.over(two)
    for process in (one, two):
        process.applied = Position(1, wait.target.seq, bytes(32))
    await authority.rows(wait)
    for process in (one, two):
        wait.acknowledge(process.instance, received_ns=SEEN_NS, nonces=process.ack().trail or ())
        await authority.granter.answer(process.release())
        assert await authority.over(process)
        await authority.rows(wait)
    assert wait.pending == {one.instance}
    seen = await authority.receipts.waiting()
    ends_ns = SEEN_NS + lease.wait_ns(seen.wait_term_ms)
    assert not wait.is_over(ends_ns - 1)
    assert wait.is_over(ends_ns)
    [verified] = wait.receipt(ends_ns).verifiers
    assert verified.outcome is Outcome.LAPSED


@rule
async def the_release_of_a_copy_releases_nothing(authority: LeaseAuthority) -> None:
    one = Process()
    assert await authority.leased(one)
    two = one.copied()
    assert await authority.leased(two)
    wait = await authority.wait()
    await authority.granter.answer(one.release())
    await authority.rows(wait)
    assert wait.pending == {one.instance}
    assert await authority.over(two)


@rule
async def the_release_of_a_single_process_counts_whatever_messages_were_lost(
    authority: LeaseAuthority,
) -> None:
    process = Process()
    assert await authority.leased(process)
    for _ in range(2 * MAX_TRAIL):
        assert isinstance(await authority.beat(process, is_lost=True), Reply)
    wait = await authority.wait()
    under_way = process.heartbeat()
    await authority.granter.answer(process.release())
    await authority.rows(wait)
    assert wait.is_over(SEEN_NS)
    assert [each.outcome for each in wait.receipt(SEEN_NS).verifiers] == [Outcome.RELEASED]
    answer = await authority.granter.answer(under_way)
    assert isinstance(answer, NoLease)
    assert answer.over


@rule
async def an_older_sidecar_that_names_no_nonces_works_as_before(authority: LeaseAuthority) -> None:
    counters = itertools.count(1)
    instance = secrets.token_bytes(16)

    def heartbeat(counter: int) -> Heartbeat:
        nonce = secrets.token_bytes(16)
        return Heartbeat(instance, nonce, counter, None, "search", "host", "0", "strict")

    for _ in range(2):
        assert isinstance(await authority.granter.answer(heartbeat(next(counters))), Reply)
    assert await authority.granter.answer(heartbeat(1)) is None
    wait = await authority.wait()
    wait.acknowledge(instance, received_ns=SEEN_NS)
    assert wait.is_over(SEEN_NS)
    # The answer cannot contain the reason, but one counter still reveals two such processes.
    assert await authority.granter.answer(heartbeat(2)) is None
    assert await authority.granter.answer(heartbeat(next(counters))) is None
