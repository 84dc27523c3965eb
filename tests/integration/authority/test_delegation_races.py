"""Nobody outlives an ancestor, however close a delegation and a revocation come (design 5)."""

from tests.support import delegation_race
from tests.support.authority import System

from rescind_authority import preparing

CHILDREN = 4_000


async def test_no_child_outlives_an_ancestor_that_is_revoked_while_it_is_made(
    system: System,
) -> None:
    await preparing.prepare(system.settings)
    async with delegation_race.prepared(system.dsn, wanted=CHILDREN, seed=1) as race:
        await race.run()
        assert race.made >= CHILDREN
        assert min(race.revoked, race.refused) > 20  # they did race
        assert await race.orphans() == []


async def test_control_with_the_head_read_under_a_lock_children_do_outlive_their_ancestors(
    system: System,
) -> None:
    await preparing.prepare(system.settings)
    async with delegation_race.prepared(system.dsn, wanted=CHILDREN, seed=1, locked=True) as race:
        await race.run()
        assert await race.orphans() != []
