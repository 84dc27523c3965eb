"""Searches of the token table."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from rescind.core.handles import Handle
from rescind_authority.ports.token_search import (
    BlastRadius,
    RevokedMarks,
    Sample,
    ScanIndex,
    ScanPage,
    TokenFilter,
    Use,
)
from rescind_authority.postgres.pool import Postgres


class PostgresTokens:
    """Search the token table (port Tokens)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def walk(
        self,
        token_filter: TokenFilter,
        along: ScanIndex,
        *,
        before: str,
        after: str,
        steps: int,
        most: int,
    ) -> ScanPage:
        found = await self._postgres.rows(
            "walk_tokens",
            along.index,
            along.name,
            before,
            after,
            steps,
            token_filter.handles,
            token_filter.issued_after_us,
            token_filter.issued_before_us,
            token_filter.state,
            most,
        )
        return ScanPage(_token_ids(found), found[0]["last"])

    async def few(
        self, token_filter: TokenFilter, *, before: str, most: int, bound: int
    ) -> tuple[str, ...] | None:
        found = await self._postgres.rows(
            "few_tokens",
            token_filter.handles,
            before,
            token_filter.issued_after_us,
            token_filter.issued_before_us,
            token_filter.state,
            bound,
            most,
        )
        return None if found[0]["many"] else _token_ids(found)

    async def count_along(self, along: ScanIndex, *, most: int) -> int:
        found = await self._postgres.rows("count_along", along.index, along.name, most)
        return int(found[0]["counted"])

    async def estimate(self, handles: Collection[Handle]) -> int:
        return int((await self._postgres.rows("estimate_tokens", list(handles)))[0]["estimate"])

    async def revoked_marks(self) -> RevokedMarks:
        return RevokedMarks(**(await self._postgres.rows("stamps"))[0])

    async def sample(self, token_filter: TokenFilter, *, size: int) -> Sample:
        rows = max(size, await self.estimate(()))
        seen = await self._postgres.rows(
            "sample_tokens",
            100 * size / rows,
            token_filter.handles,
            token_filter.issued_after_us,
            token_filter.issued_before_us,
            token_filter.state,
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
        self,
        handles: Collection[Handle],
        *,
        issued_before_us: int | None,
        most: int,
        seq: int | None = None,
    ) -> BlastRadius:
        handle_list = list(handles)
        # One more than the bound shows whether there are more.
        row = (await self._postgres.rows("radius", handle_list, issued_before_us, most + 1, seq))[0]
        exact, tokens = row["tokens"] <= most, row["tokens"]
        if not exact:
            tokens = max(tokens, await self.estimate(handle_list))
        return BlastRadius(
            tokens=tokens,
            exact=exact,
            subjects=row["subjects"],
            delegated=row["delegated"],
            used=row["used"],
            services=tuple(row["services"]),
            spared_credentials=row["spared_credentials"],
        )

    async def mark_used(self, uses: Collection[Use]) -> None:
        await self._postgres.write(
            "mark_used",
            [use.token_id for use in uses],
            [use.instance for use in uses],
            [use.at_us for use in uses],
        )


def _token_ids(found: Sequence[asyncpg.Record]) -> tuple[str, ...]:
    return tuple(row["token_id"] for row in found if row["token_id"] is not None)
