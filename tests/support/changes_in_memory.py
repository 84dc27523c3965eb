"""Rotations and ends of tokens in `postgres_in_memory`: a second implementation of the queries.

These are `rotate_token.sql`, `expire_token.sql`, `end_overdue.sql`, `pending_ends.sql`,
`end_idle.sql`, `end_surplus_sessions.sql`, and the ends that `append_events.sql` writes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from rescind.core.token_format import Kind
from rescind_authority.ports.ledger import Change, End, Expiry, RecordedChange, Rotation
from rescind_authority.ports.tokens import Ended, EndReason, Retired, ScheduledEnd, StoredToken

_MAX_SETBACK_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """Tokens by each secret that they have or had, and the ends by an event, with times (Unix µs).

    A token that is found by an old secret has `retired`. `possessions` holds the possession hash of
    each secret that has one, and `revoked` the ids of tokens that a revoke hits.
    """

    tokens: Mapping[bytes, StoredToken]
    ending: Mapping[End, int]
    reasons: Mapping[End, EndReason] = field(default_factory=dict[End, EndReason])
    possessions: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    revoked: Collection[str] = ()

    def named(self, token_id: str) -> StoredToken | None:
        """Return the token with an id."""
        found = (each for each in self.tokens.values() if each.grant.token_id == token_id)
        return next((each for each in found if each.retired is None), None)

    def by_hash(self, token_hash: bytes) -> StoredToken | None:
        """Return the token of a current or former secret: the first of its line ends it."""
        found = self.tokens.get(token_hash)
        if found is None or (found.retired is None and not found.grant.lineage):
            return found
        line = [self.named(each) for each in (found.grant.token_id, *found.grant.lineage)]
        ends = [each.expires_at_us for each in line if each is not None]
        if found.retired is not None:
            ends.append(found.retired.good_until_us)
        over = [each.ended for each in (found, *line) if each is not None and each.ended]
        return replace(
            found,
            expires_at_us=max(found.issued_at_us, min(ends)),
            ended=over[0] if over else None,
        )

    def changed(self, change: Change, now_us: int) -> tuple["Known", RecordedChange] | None:
        """Return the tokens after a change, and the ends of its event; None: it is impossible."""
        if isinstance(change, End):
            return (self, RecordedChange(change)) if change in self.ending else None
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
    ) -> tuple["Known", RecordedChange] | None:
        if change.replaces not in (None, token.token_hash):
            return None
        end, good_until_us = (
            End(token.grant.token_id, token.token_hash),
            min(token.expires_at_us, now_us + change.overlap_us),
        )
        recognised_by = self.possessions.get(token.token_hash)
        retired = Retired(now_us, good_until_us, change.reuse_revokes, recognised_by)
        old = replace(token, retired=retired)
        new = replace(token, token_hash=change.token_hash)
        tokens = {**self.tokens, token.token_hash: old, change.token_hash: new}
        possessions = dict(self.possessions)
        if change.possession_hash is not None:
            possessions[change.token_hash] = change.possession_hash
        ending = {**self.ending, end: good_until_us}
        after = replace(self, tokens=tokens, ending=ending, possessions=possessions)
        return after, RecordedChange(None if change.overlap_us > 0 else end)

    def _expired(
        self, change: Expiry, token: StoredToken, now_us: int
    ) -> tuple["Known", RecordedChange]:
        over = change.at_us is None or change.at_us <= now_us
        wanted_us = now_us if change.at_us is None else change.at_us
        at_us = max(token.issued_at_us + 1, min(token.expires_at_us, wanted_us))
        end = End(token.grant.token_id)
        moved = over or at_us < token.expires_at_us
        tokens = {**self.tokens, token.token_hash: replace(token, expires_at_us=at_us)}
        ending = {**self.ending, end: at_us} if moved else self.ending
        after = replace(self, tokens=tokens, ending=ending)
        return after, RecordedChange(end if over else None)

    def after(self, ends: Mapping[End, Ended]) -> "Known":
        """Return the tokens after these ends. A token that has ended keeps its first position."""
        tokens = dict(self.tokens)
        for token_hash, each in self.tokens.items():
            whose = None if each.retired is None else token_hash
            at = ends.get(End(each.grant.token_id, whose))
            if at is not None:
                tokens[token_hash] = replace(each, ended=each.ended or at)
        ending = {end: us for end, us in self.ending.items() if end not in ends}
        return replace(self, tokens=tokens, ending=ending)

    def idle(self, now_us: int, *, delay_us: int, began_us: int) -> list[str]:
        """Return the sessions that were idle for longer than they may be, in this epoch."""
        return [
            each.grant.token_id
            for each in self._live(now_us)
            if each.grant.idle_us is not None
            and max(began_us, _used_at_us(each)) + each.grant.idle_us + delay_us <= now_us
        ]

    def surplus(self, subject: str, now_us: int, *, keep: int) -> list[str]:
        """Return the sessions of a subject except for those that were used last."""
        theirs = [
            each
            for each in self._live(now_us)
            if (each.grant.subject, each.grant.kind) == (subject, Kind.SESSION)
        ]
        by_use = sorted(
            theirs, key=lambda each: (_used_at_us(each), each.grant.token_id), reverse=True
        )
        return [each.grant.token_id for each in by_use[keep:]]

    def _live(self, now_us: int) -> list[StoredToken]:
        return [
            each
            for each in self.tokens.values()
            if each.retired is None and each.ended is None and each.expires_at_us > now_us
            if each.grant.token_id not in self.revoked
        ]

    def cut(self, token_ids: Collection[str], now_us: int, reason: EndReason) -> "Known":
        """Return the tokens after these tokens end now, with an event due for each."""
        tokens = dict(self.tokens)
        for token_hash, each in self.tokens.items():
            if each.grant.token_id in token_ids and each.retired is None:
                at_us = max(each.issued_at_us + 1, now_us)
                tokens[token_hash] = replace(each, expires_at_us=at_us)
        ends = {End(token_id): now_us for token_id in token_ids}
        reasons = {End(token_id): reason for token_id in token_ids}
        return replace(
            self,
            tokens=tokens,
            ending={**self.ending, **ends},
            reasons={**self.reasons, **reasons},
        )

    def pending(self, now_us: int, *, limit: int) -> tuple[ScheduledEnd, ...]:
        """Return the scheduled ends by an event, the earliest first."""
        by_time = sorted(self.ending.items(), key=lambda each: (each[1], each[0].token_id))
        return tuple(
            ScheduledEnd(end.token_id, end.token_hash, at_us - now_us, self.reasons.get(end))
            for end, at_us in by_time[:limit]
        )


def _used_at_us(token: StoredToken) -> int:
    return max(token.issued_at_us, token.grant.not_before_us or 0, token.last_used_at_us or 0)


def ledger_time_us(latest_us: int, clock_us: int) -> int:
    """Return the result of `ledger_time` of migration 0014."""
    return clock_us if latest_us > clock_us + _MAX_SETBACK_US else max(latest_us, clock_us)
