"""The token table, to look through."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from rescind.core.handles import Handle
from rescind_authority.ports.lists import Along, Radius, Sample, Stamps, TokenFilter, Walked
from rescind_authority.postgres.pool import Postgres


class PostgresTokens:
    """Look through the tokens (port Tokens)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def walk(
        self, wanted: TokenFilter, along: Along, *, before: str, after: str, steps: int, most: int
    ) -> Walked:
        found = await self._postgres.rows(
            "walk_tokens",
            along.index,
            along.name,
            before,
            after,
            steps,
            wanted.handles,
            wanted.issued_after_us,
            wanted.issued_before_us,
            wanted.state,
            most,
        )
        return Walked(_named(found), found[0]["last"])

    async def few(
        self, wanted: TokenFilter, *, before: str, most: int, bound: int
    ) -> tuple[str, ...] | None:
        found = await self._postgres.rows(
            "few_tokens",
            wanted.handles,
            before,
            wanted.issued_after_us,
            wanted.issued_before_us,
            wanted.state,
            bound,
            most,
        )
        return None if found[0]["many"] else _named(found)

    async def count_along(self, along: Along, *, most: int) -> int:
        found = await self._postgres.rows("count_along", along.index, along.name, most)
        return int(found[0]["counted"])

    async def estimate(self, handles: Collection[Handle]) -> int:
        return int((await self._postgres.rows("estimate_tokens", list(handles)))[0]["estimate"])

    async def stamps(self) -> Stamps:
        return Stamps(**(await self._postgres.rows("stamps"))[0])

    async def sample(self, wanted: TokenFilter, *, size: int) -> Sample:
        rows = max(size, await self.estimate(()))
        seen = await self._postgres.rows(
            "sample_tokens",
            100 * size / rows,
            wanted.handles,
            wanted.issued_after_us,
            wanted.issued_before_us,
            wanted.state,
        )
        return Sample(**seen[0])

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
            tokens = max(tokens, await self.estimate(wanted))
        return Radius(
            tokens=tokens,
            exact=exact,
            subjects=row["subjects"],
            delegated=row["delegated"],
            used=row["used"],
            services=tuple(row["services"]),
            spared_credentials=row["spared_credentials"],
        )

    async def mark_used(self, uses: Collection[tuple[str, bytes]]) -> None:
        token_ids, instances = [each[0] for each in uses], [each[1] for each in uses]
        await self._postgres.write("mark_used", token_ids, instances)


def _named(found: Sequence[asyncpg.Record]) -> tuple[str, ...]:
    return tuple(row["token_id"] for row in found if row["token_id"] is not None)
