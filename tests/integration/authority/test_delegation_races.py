"""No child outlives an ancestor, however close a delegation and a revocation come (design 5)."""

import pytest
from tests.support import delegation_race
from tests.support.authority import System
from tests.support.delegation_race import MINT, InterruptedTransactions

from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool
from rescind_authority.usecases.tokens.delegate import Delegator

CHILDREN = 4_000


@pytest.mark.parametrize("selector", ["tree:{token_id}", "chain:{subject}", "label:run={run}"])
async def test_a_child_whose_parent_is_revoked_during_the_delegation_is_revoked(
    system: System, selector: str
) -> None:
    await bootstrap.prepare(system.settings)
    async with (
        delegation_race.prepared(system.dsn, wanted=1, seed=1) as race,
        pool.connect(system.dsn) as postgres,
    ):
        parent = await race.root()
        named = selector.format(
            token_id=parent.token.grant.token_id,
            subject=parent.token.grant.subject,
            run=dict(parent.token.grant.labels)["run"],
        )
        transactions = InterruptedTransactions(
            postgres, race.guard, meanwhile=lambda: race.revoke(named)
        )
        race.delegator = Delegator(transactions, mint=MINT)
        child = await race.child(parent)
        assert (child.issued.issued_seq, race.revoked) == (0, 1)
        assert await race.orphans() == []


async def test_no_child_outlives_an_ancestor_that_is_revoked_during_the_delegation(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    async with delegation_race.prepared(system.dsn, wanted=CHILDREN, seed=1) as race:
        await race.run()
        assert race.made >= CHILDREN
        assert min(race.revoked, race.refused) > 20  # they did race
        assert await race.orphans() == []


async def test_control_with_the_head_read_under_a_lock_children_do_outlive_their_ancestors(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    async with delegation_race.prepared(system.dsn, wanted=0, seed=1, locked=True) as race:
        # As many as in the test above at most, and no more than are needed for one that does.
        while race.made < CHILDREN and not (race.made and await race.orphans()):
            race.wanted += CHILDREN // 8
            await race.run()
        assert await race.orphans() != []
