"""The token table, to look through."""

from collections.abc import Collection, Mapping

from rescind.core.handles import Handle
from rescind_authority.ports import Radius, TokenFilter
from rescind_authority.postgres.pool import Postgres


class PostgresTokens:
    """List tokens (port Tokens)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def page(self, wanted: TokenFilter) -> tuple[str, ...]:
        found = await self._postgres.rows(
            "list_tokens", wanted.handles, wanted.state, wanted.before, wanted.limit
        )
        return tuple(row["token_id"] for row in found)

    async def children(
        self, parents: Collection[str], *, most: int, after: str | None = None
    ) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for row in await self._postgres.rows("children", list(parents), after, most):
            found[row["parent"]] = (*found.get(row["parent"], ()), row["token_id"])
        return found

    async def count(self, handles: Collection[Handle], *, most: int) -> int:
        return int((await self._postgres.rows("count_tokens", list(handles), most))[0]["counted"])

    async def any_admin(self, handles: Collection[Handle]) -> bool:
        return bool((await self._postgres.rows("any_admin", list(handles)))[0]["any_admin"])

    async def radius(
        self, handles: Collection[Handle], *, issued_before_us: int | None, most: int
    ) -> Radius:
        wanted = list(handles)
        row = (await self._postgres.rows("radius", wanted, issued_before_us, most))[0]
        exact, tokens = row["tokens"] < most, row["tokens"]
        if not exact:
            estimate = (await self._postgres.rows("estimate_tokens", wanted))[0]["estimate"]
            tokens = max(tokens, estimate)
        return Radius(
            tokens=tokens,
            exact=exact,
            subjects=row["subjects"],
            delegated=row["delegated"],
            used=row["used"],
            services=tuple(row["services"]),
        )

    async def mark_used(self, uses: Collection[tuple[str, bytes]]) -> None:
        token_ids, instances = [each[0] for each in uses], [each[1] for each in uses]
        await self._postgres.rows("mark_used", token_ids, instances)
