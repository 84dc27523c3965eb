"""Previews: the blast radius of a command, before anything is written."""

import hashlib
import json
from dataclasses import dataclass

from rescind.core.handles import Selector
from rescind.core.revocation import Revocation
from rescind_authority.errors import PreviewNeededError
from rescind_authority.ports.token_search import BlastRadius, Tokens

MAX_COUNTED = 10_000
"""The largest number that is counted exactly."""

_GROWTH = 1.5
_SLACK = 100
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Preview:
    """A blast radius, and the name that permits the previewed command."""

    selector: Selector
    radius: BlastRadius
    name: str
    needed: bool


class Previewer:
    """Preview commands, and require a preview of those that hit many tokens."""

    def __init__(self, tokens: Tokens, *, above: int) -> None:
        self._tokens = tokens
        self._above = above

    async def preview(self, revocation: Revocation) -> Preview:
        """Return the preview of a revocation as of now."""
        radius = await self._radius(revocation)
        needed = revocation.selector.wide and radius.tokens > self._above
        return Preview(revocation.selector, radius, _name_of(revocation, radius.tokens), needed)

    async def require(self, revocation: Revocation, name: str | None) -> None:
        """Raise PreviewNeededError for a wide command that hits many tokens and was not previewed.

        `name` is the name of the preview that the caller sent, if any.

        A command that names a token, a tree, a subject or a session is never delayed: it stops a
        rogue holder, and its radius was chosen when the token was issued.
        """
        if not revocation.selector.wide:
            return
        radius = await self._radius(revocation)
        if radius.tokens > self._above and not _covers(name, revocation, radius.tokens):
            raise PreviewNeededError(radius.tokens, exact=radius.exact, above=self._above)

    async def _radius(self, revocation: Revocation) -> BlastRadius:
        return await self._tokens.radius(
            revocation.selector.handles,
            issued_before_us=revocation.issued_before_us,
            most=MAX_COUNTED,
        )


def _name_of(revocation: Revocation, tokens: int) -> str:
    """Return the name of a preview: it is valid for this effect and target alone."""
    facts = json.dumps(
        [
            revocation.effect,
            sorted(revocation.selector.handles),
            revocation.issued_before_us,
            revocation.until_us,
            revocation.scopes,
            tokens,
        ]
    )
    return f"{tokens}-{hashlib.sha256(facts.encode()).hexdigest()[:_DIGITS]}"


def _covers(name: str | None, revocation: Revocation, tokens: int) -> bool:
    """Return True if a preview covers the tokens that a command hits now.

    The preview has to be of this very command. The command may hit at most `_GROWTH` times as many
    tokens as the preview counted, plus `_SLACK`.
    """
    count = (name or "").partition("-")[0]
    if not (count.isascii() and count.isdigit()):
        return False
    seen = int(count)
    return name == _name_of(revocation, seen) and tokens <= seen * _GROWTH + _SLACK
