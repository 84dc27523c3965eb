"""Rotations and ends of tokens in `postgres_in_memory`: what the queries for them do, once more.

`rotate_token.sql`, `expire_token.sql`, `end_overdue.sql`, `pending_ends.sql`, and the ends that
`append_events.sql` writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rescind_authority.ports.ledger import Change, Done, End, Expiry, Rotation
from rescind_authority.ports.tokens import Ended, Pending, Retired, StoredToken

_LONGEST_SETBACK_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """Tokens by each secret that they have or had, and what ends by an event, and when (Unix µs).

    What is found by an old secret has `retired`.
    """

    tokens: Mapping[bytes, StoredToken]
    ending: Mapping[End, int]

    def named(self, token_id: str) -> StoredToken | None:
        """Find a token by its id."""
        found = (each for each in self.tokens.values() if each.token_id == token_id)
        return next((each for each in found if each.retired is None), None)

    def by_hash(self, token_hash: bytes) -> StoredToken | None:
        """Find a token by a secret that it has, or had: an old one ends with the token at last."""
        found = self.tokens.get(token_hash)
        if found is None or found.retired is None:
            return found
        token = self.named(found.token_id)
        assert token is not None
        return replace(
            found,
            expires_at_us=min(token.expires_at_us, found.retired.good_until_us),
            ended=found.ended or token.ended,
        )

    def changed(self, change: Change, now_us: int) -> tuple["Known", Done] | None:
        """Return what is known after a change, and what its event ends; None: it cannot be."""
        if isinstance(change, End):
            return (self, Done(change)) if change in self.ending else None
        token = self.named(change.token_id)
        if token is None or token.ended is not None or token.expires_at_us <= now_us:
            return None
        match change:
            case Rotation():
                return self._rotated(change, token, now_us)
            case Expiry():
                return self._expired(change, token, now_us)

    def _rotated(
        self, change: Rotation, token: StoredToken, now_us: int
    ) -> tuple["Known", Done] | None:
        if change.replaces not in (None, token.token_hash):
            return None
        end, good_until_us = (
            End(token.token_id, token.token_hash),
            min(token.expires_at_us, now_us + change.overlap_us),
        )
        old = replace(token, retired=Retired(now_us, good_until_us, change.reuse_revokes))
        new = replace(token, token_hash=change.token_hash)
        tokens = {**self.tokens, token.token_hash: old, change.token_hash: new}
        after = Known(tokens, {**self.ending, end: good_until_us})
        return after, Done(None if change.overlap_us > 0 else end)

    def _expired(self, change: Expiry, token: StoredToken, now_us: int) -> tuple["Known", Done]:
        over = change.at_us is None or change.at_us <= now_us
        wanted_us = now_us if change.at_us is None else change.at_us
        at_us = max(token.issued_at_us + 1, min(token.expires_at_us, wanted_us))
        end = End(token.token_id)
        moved = over or at_us < token.expires_at_us
        tokens = {**self.tokens, token.token_hash: replace(token, expires_at_us=at_us)}
        after = Known(tokens, {**self.ending, end: at_us} if moved else self.ending)
        return after, Done(end if over else None)

    def after(self, ends: Mapping[End, Ended]) -> "Known":
        """Return what is known after these ends. What has ended keeps its first position."""
        tokens = dict(self.tokens)
        for token_hash, each in self.tokens.items():
            whose = None if each.retired is None else token_hash
            at = ends.get(End(each.token_id, whose))
            if at is not None:
                tokens[token_hash] = replace(each, ended=each.ended or at)
        return Known(tokens, {end: us for end, us in self.ending.items() if end not in ends})

    def pending(self, now_us: int, *, limit: int) -> tuple[Pending, ...]:
        """List what an event will end, the first to end first."""
        by_time = sorted(self.ending.items(), key=lambda each: (each[1], each[0].token_id))
        return tuple(
            Pending(end.token_id, end.token_hash, at_us - now_us) for end, at_us in by_time[:limit]
        )


def ledger_time_us(latest_us: int, clock_us: int) -> int:
    """Return what `ledger_time` of migration 0014 does."""
    return clock_us if latest_us > clock_us + _LONGEST_SETBACK_US else max(latest_us, clock_us)
