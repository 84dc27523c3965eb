"""Bugs about ends and clocks, put into the running product one at a time (see `bugs.py`)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.bugs import Patches
from tests.support.changes_in_memory import Known

from rescind.core.revocation import Restriction
from rescind_authority.ports.tokens import StoredToken, TokenState
from rescind_authority.usecases.lookups import resolver
from rescind_authority.usecases.tokens.end_timer import EndTimer
from rescind_sidecar.view.authority_clock import AuthorityTime

BUGS: dict[str, Callable[[], Patches]] = {}


def bug(name: str) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    """Register a bug under its name; the function returns the attributes that it replaces."""

    def note(patches: Callable[[], Patches]) -> Callable[[], Patches]:
        BUGS[name] = patches
        return patches

    return note


@bug("an ended token is judged by its time, not by its position")
def _() -> Patches:
    def by_revocations(state: TokenState) -> tuple[Restriction, ...]:
        return tuple(
            Restriction(event.revocation.revocation_id, event.revocation.effect, event.seq)
            for event in resolver.restricting_events(state)
        )

    return [(resolver, "restrictions_of", by_revocations)]


@bug("an end at a time is left to the clock")
def _() -> Patches:
    async def idle(self: EndTimer) -> float:
        return 5.0

    return [(EndTimer, "step", idle)]


@bug("a secret that was rotated away is good for as long as its token")
def _() -> Patches:
    def by_token(self: Known, token_hash: bytes) -> StoredToken | None:
        found = self.tokens.get(token_hash)
        token = None if found is None else self.named(found.grant.token_id)
        return None if token is None else replace(token, token_hash=token_hash)

    return [(Known, "by_hash", by_token)]


@bug("the authority's time in a sidecar runs backwards")
def _() -> Patches:
    learned = AuthorityTime.learned

    def anew(authority_us: int, **known: Any) -> AuthorityTime:
        return learned(authority_us, **(known | {"before": None}))

    return [(AuthorityTime, "learned", anew)]
