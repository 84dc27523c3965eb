"""The blast radius: what a command would hit, before anything is written."""

import hashlib
import json
from dataclasses import dataclass

from rescind.core.handles import EVERYTHING, Selector, kind_of
from rescind_authority.errors import PreviewNeededError
from rescind_authority.ports.lists import Radius, Tokens

MOST_COUNTED = 10_000
"""Up to here the counts are exact."""

WIDE = frozenset({EVERYTHING, "kind", "created_by", "issuer", "tenant", "client", "label"})
"""Handles of many holders: a command that names nothing else may hit more than was meant."""

_GROWTH = 1.5
_SLACK = 100
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom a command hits, and with what: all that a preview is good for."""

    verb: str
    selector: Selector
    issued_before_us: int | None
    until_us: int | None
    scopes: tuple[str, ...]

    @property
    def wide(self) -> bool:
        """Whether it names no token, tree, subject, chain or session."""
        return all(kind_of(handle) in WIDE for handle in self.selector.handles)


@dataclass(frozen=True, slots=True)
class Preview:
    """A blast radius, and the name under which the command may be given that was looked at."""

    selector: Selector
    radius: Radius
    name: str
    needed: bool


class Previews:
    """Look before the leap; and have those look first who are about to hit many."""

    def __init__(self, tokens: Tokens, *, above: int) -> None:
        self._tokens = tokens
        self._above = above

    async def look(self, aim: Aim) -> Preview:
        """Say what a command would hit now."""
        radius = await self._radius(aim)
        needed = aim.wide and radius.tokens > self._above
        return Preview(aim.selector, radius, _name(aim, radius.tokens), needed)

    async def require(self, aim: Aim, name: str | None) -> None:
        """Raise PreviewNeededError for a wide command that hits many, unless it was looked at.

        What names a token, a tree, a subject or a session is never held up: it is what stops a
        rogue, and its radius was chosen when it was issued.
        """
        if not aim.wide:
            return
        radius = await self._radius(aim)
        if radius.tokens > self._above and not _covers(name, aim, radius.tokens):
            raise PreviewNeededError(radius.tokens, exact=radius.exact, above=self._above)

    async def _radius(self, aim: Aim) -> Radius:
        return await self._tokens.radius(
            aim.selector.handles, issued_before_us=aim.issued_before_us, most=MOST_COUNTED
        )


def _name(aim: Aim, tokens: int) -> str:
    asked = (aim.verb, sorted(aim.selector.handles), aim.issued_before_us, aim.until_us)
    facts = json.dumps([*asked, aim.scopes, tokens])
    return f"{tokens}-{hashlib.sha256(facts.encode()).hexdigest()[:_DIGITS]}"


def _covers(name: str | None, aim: Aim, tokens: int) -> bool:
    """Say whether a preview was of this very command, and of hardly less than it hits now."""
    count = (name or "").partition("-")[0]
    if not (count.isascii() and count.isdigit()):
        return False
    seen = int(count)
    return name == _name(aim, seen) and tokens <= seen * _GROWTH + _SLACK
