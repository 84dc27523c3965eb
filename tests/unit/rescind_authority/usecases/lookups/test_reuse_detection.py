"""When the use of a rotated secret ends its token: presented, and after its end and the leeway."""

import asyncio
import os
from dataclasses import replace

import pytest
from tests.simulation.network import Host
from tests.support.grants import grant

from rescind.core import token_format
from rescind.core.handles import Handle
from rescind.core.token_format import REUSE_LEEWAY_US
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.ports.tokens import Ended, Retired, StoredToken
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.usecases.lookups.reuse_detection import PresentedToken, ReuseDetector

TEXT = "rsc_agt_the old secret"
GOOD_UNTIL_US = 1_000_000_000
RETIRED = Retired(900_000_000, GOOD_UNTIL_US, True, token_format.possession_hash(TEXT))
TOKEN = StoredToken(
    token_hash=token_format.digest(TEXT),
    grant=grant("tok_1", names=(Handle("*"),)),
    issued_at_us=0,
    issued_seq=0,
    expires_at_us=GOOD_UNTIL_US,
    last_used_at_us=None,
    retired=RETIRED,
    ended=Ended(7, "rev_7"),
)
SHOWN = PresentedToken(token_format.possession(TEXT), 7, GOOD_UNTIL_US + REUSE_LEEWAY_US + 1)


class Commits:
    """A sequencer that remembers what was to be committed."""

    def __init__(self) -> None:
        self.selectors: list[tuple[Handle, ...]] = []

    async def commit(self, command: LedgerCommand) -> CommittedEvent:
        self.selectors.append(command.revocation.selector.handles)
        return CommittedEvent("rev_8", 1, 8, GOOD_UNTIL_US)


async def ended(*saw: tuple[StoredToken, PresentedToken]) -> int:
    """Return how many tokens end after these were seen."""
    commits, host = Commits(), Host("here")
    reuse = ReuseDetector(commits, clock=host, entropy=os.urandom)  # type: ignore[arg-type]
    for token, shown in saw:
        reuse.check(token, shown)
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(reuse.run())
        for _ in range(20):
            await asyncio.sleep(0)
        job.cancel()
    return len(commits.selectors)


async def test_a_secret_that_is_presented_after_its_end_and_the_leeway_ends_its_token() -> None:
    assert await ended((TOKEN, SHOWN)) == 1
    # Its overlap is over, and the event that says so is not committed yet.
    assert await ended((replace(TOKEN, ended=None), SHOWN)) == 1


@pytest.mark.parametrize(
    "shown",
    [
        replace(SHOWN, seq=6),
        replace(SHOWN, at_us=SHOWN.at_us - 1),
        replace(SHOWN, at_us=0),
        replace(SHOWN, possession=token_format.possession("another")),
        replace(SHOWN, possession=token_format.digest(TEXT)),
        replace(SHOWN, possession=token_format.possession_hash(TEXT)),
        replace(SHOWN, possession=b""),
    ],
    ids=["before its end", "in the leeway", "no time", "another", "hash", "stored", "nothing"],
)
async def test_an_insufficient_proof_of_reuse_ends_nothing(shown: PresentedToken) -> None:
    assert await ended((TOKEN, shown)) == 0


@pytest.mark.parametrize(
    "token",
    [
        replace(TOKEN, retired=None),
        replace(TOKEN, retired=replace(RETIRED, revokes=False)),
        replace(TOKEN, retired=replace(RETIRED, possession_hash=None)),
    ],
    ids=["the one it has", "that only denies", "before 0018"],
)
async def test_the_use_of_other_secrets_ends_nothing(token: StoredToken) -> None:
    assert await ended((token, SHOWN)) == 0
