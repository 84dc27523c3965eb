"""The actors that issue, revoke and lift, and repeat a command at another authority on failure."""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import count
from random import Random

from tests.simulation.authority import Authority
from tests.simulation.network import now_s, now_us
from tests.simulation.oracle import NEVER_S, Issued, Oracle, Promise
from tests.simulation.trust import EdgeKeys, RandomSource
from tests.support.grants import grant
from tests.support.postgres_in_memory import Cluster, Transaction

from rescind.core import public_ids, token_format
from rescind.core.handles import Handle, Selector
from rescind.core.receipt import Receipt
from rescind.core.revocation import Event, Revocation, lift_of
from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import AUDIENCE, VERIFY
from rescind.errors import RescindError
from rescind.wire import receipts, signed_envelope
from rescind_authority import actors
from rescind_authority.errors import LostError
from rescind_authority.ports.ledger import Change, CommittedEvent, IdempotentRequest, Key
from rescind_authority.ports.tokens import IssueTimes as Footed
from rescind_authority.ports.tokens import NewToken
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.usecases.lookups.resolver import restricting_events
from rescind_authority.usecases.tokens.new_token import require_no_revocation

TERM_MS = 3_000
_HOUR_US = 3_600_000_000
_TENANTS = ("a", "b")
_SUBJECTS = ("agent:one", "agent:two", "agent:three")
_TIMEOUT_S = 2.0
_TIMED = 0.4


class Actors:
    """Administrators and the services that issue tokens."""

    def __init__(
        self,
        oracle: Oracle,
        cluster: Cluster,
        *,
        authorities: Callable[[], Sequence[Authority]],
        check: Callable[[Promise, Sequence[Issued], bool], None],
        seed: int,
    ) -> None:
        self.over = False
        self._restored = False
        self._check = check
        self._oracle = oracle
        self._cluster = cluster
        self._authorities = authorities
        self._random = Random(f"{seed} people")
        self._terms = Random(f"{seed} until")
        self._entropy = RandomSource(f"{seed} secrets")
        self._commands = 0
        self._favourite = (f"chain:{self._random.choice(_SUBJECTS)}",)
        self._liftable: list[Promise] = []
        self.credential = self._service()
        self.innocent = self._issued_before("agent:innocent", "innocent")
        self.last = self._issued_before("agent:last", "innocent")
        # In the oldest backup too, and revoked only after it was restored: by `log_out`.
        self.session = self._issued_before("user:one", "innocent", Kind.SESSION)
        self._spared = (self.innocent, self.last, self.session)
        for subject in _SUBJECTS:
            self._issued_before(subject, _TENANTS[0])

    # Issuing ------------------------------------------------------------------------------------

    def _service(self) -> str:
        token, secret = self._new_token(Kind.SERVICE, "service:search", "service")
        granted = replace(token.grant, scopes=(VERIFY,), audience=(AUDIENCE,))
        service = replace(token, grant=granted)
        self._store(service)
        return secret

    def _issued_before(self, subject: str, tenant: str, kind: Kind = Kind.AGENT) -> Issued:
        token, text = self._new_token(kind, subject, tenant)
        self._store(token)
        return self._known(token, text, issued_seq=0, parent=None)

    def _store(self, token: NewToken) -> None:
        async def free() -> None:
            pass

        transaction = Transaction(self._cluster, free)
        transaction.store(token, Footed(now_us(), 0, now_us() + _HOUR_US))
        transaction.commit()

    def _new_token(
        self, kind: Kind, subject: str, tenant: str, parent: Issued | None = None
    ) -> tuple[NewToken, str]:
        secret = token_format.mint(kind=kind, random=self._entropy(32), edge_key=EdgeKeys.minting)
        token_id = public_ids.make("tok", now_ms=now_us() // 1000, entropy=self._entropy(10))
        handles = {"*", f"token:{token_id}", f"tree:{token_id}", f"chain:{subject}"}
        handles |= {f"tenant:{tenant}", f"kind:{kind}"}
        if parent is not None:
            inherited = ("tree:", "chain:", "tenant:")
            handles |= {each for each in parent.handles if each.startswith(inherited)}
        text = secret.reveal()
        granted = grant(
            token_id,
            kind=kind,
            subject=subject,
            scopes=("read", "write"),
            tenant=tenant,
            names=tuple(sorted(Handle(each) for each in handles)),
        )
        token = NewToken(token_hash=token_format.digest(text), grant=granted)
        return token, text

    def _known(
        self, token: NewToken, text: str, *, issued_seq: int, parent: Issued | None
    ) -> Issued:
        family = () if parent is None else (parent, *parent.family)
        handles = frozenset[str](token.grant.handles)
        issued = Issued(text, token.grant.token_id, token.grant.kind, handles, issued_seq, family)
        self._oracle.tokens.append(issued)
        return issued

    async def issue_tokens(self) -> None:
        """Issue tokens at random times, some of them as children of others."""
        while not self.over:
            await asyncio.sleep(self._random.uniform(0.1, 0.8))
            authority = self._random.choice(self._authorities())
            parent = self._random.choice([None, *self._oracle.tokens[-5:]])
            if parent in self._spared:
                parent = None
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await authority.run_inside(self._issue(authority, parent))
            except (RescindError, TimeoutError):
                self._oracle.count["not issued"] += 1

    async def _issue(self, authority: Authority, parent: Issued | None) -> None:
        kind = self._random.choice((Kind.AGENT, Kind.SESSION))
        subject, tenant = self._random.choice(_SUBJECTS), self._random.choice(_TENANTS)
        token, text = self._new_token(kind, subject, tenant, parent)
        async with authority.postgres.begin() as transaction:
            parent_hash = None if parent is None else token_format.digest(parent.text)
            footing = await transaction.read_issuance(parent_hash, token.grant.handles)
            if parent is not None and (
                footing.parent is None or restricting_events(footing.parent)
            ):
                return
            require_no_revocation(footing, token.grant.handles)
            at_us, as_of = footing.snapshot.at_us, footing.snapshot.as_of
            await transaction.insert_token(token, Footed(at_us, as_of, at_us + _HOUR_US))
        self._oracle.count["issued"] += 1
        self._known(token, text, issued_seq=as_of, parent=parent)

    # Revoking -----------------------------------------------------------------------------------

    async def revoke_tokens(self) -> None:
        """Revoke, suspend, narrow, kill and lift at random times, until the run ends."""
        while not self.over:
            await asyncio.sleep(self._random.uniform(0.2, 1.5))
            if self._liftable and self._random.random() < 0.3:
                await self._lift(self._liftable.pop(self._random.randrange(len(self._liftable))))
            else:
                effect = self._random.choice(("revoke", "revoke", "suspend", "narrow", "kill"))
                await self.revoke(effect, *self._selector())

    def _selector(self) -> tuple[str, ...]:
        free = [each for each in self._oracle.tokens if self._oracle.free(each)]
        token = self._random.choice(free)
        selectors = [
            self._favourite,
            (f"chain:{self._random.choice(_SUBJECTS)}",),
            (f"tenant:{_TENANTS[1]}", f"chain:{self._random.choice(_SUBJECTS)}"),
        ]
        if token not in self._spared:
            selectors += [(f"tree:{token.token_id}",)] * 2
        return self._random.choice(selectors)

    async def change_term(self, term_ms: int) -> None:
        """Request another lease term; the authorities change it in steps."""
        while True:
            authority = self._random.choice(self._authorities())
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await authority.run_inside(
                        authority.term.request_term(term_ms, actor="admin:ada")
                    )
            except (RescindError, TimeoutError):
                await asyncio.sleep(0.1)
            else:
                return

    async def log_out(self) -> None:
        """Revoke the session that nothing else revokes."""
        await self.revoke("revoke", f"tree:{self.session.token_id}")

    async def react(self) -> None:
        """Revoke or suspend the most used tokens, as an operator does during an incident."""
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        await self.revoke(self._random.choice(("revoke", "suspend")), *self._favourite)

    async def revoke(self, effect: str, *handles: str) -> None:
        """Revoke, and wait for the receipt."""
        self._commands += 1
        revocation = Revocation(
            revocation_id=f"rev_{self._commands}",
            selector=Selector(tuple(sorted(Handle(each) for each in handles))),
            effect="revoke" if effect == "kill" else effect,
            reason="a simulation",
            actor="admin:ada",
            scopes=("write",) if effect == "narrow" else (),
            until_us=self._until(effect),
        )
        then = replace(revocation, effect="suspend") if effect == "kill" else None
        there = frozenset(each.token_id for each in self._oracle.tokens)
        given: list[Promise] = []

        def committed(done: CommittedEvent) -> None:
            events = _events_of(done, revocation, then)
            if events != [promise.event for promise in given]:  # else the command was repeated
                given[:] = [Promise(event, there) for event in events]
                self._committed(given)

        receipt = await self._enforce(revocation, then, committed)
        for promise in given:
            self._enforced(promise, receipt)

    def _until(self, effect: str) -> int | None:
        """Return when a suspension or a narrow ends by itself; None if only a lift ends it."""
        if effect not in ("suspend", "narrow") or self._terms.random() > _TIMED:
            return None
        return self._cluster.now_us() + int(self._terms.uniform(0.3, 4.0) * 1e6)

    def apply_scheduled_lifts(self) -> None:
        """End the promises that a scheduled lift ended; record a lift before its time as wrong."""
        lifts = {
            entry.event.revocation.lifts: entry.event
            for _, entry in self._cluster.tables.entries
            if entry.event.revocation.actor == actors.SCHEDULED_LIFT
        }
        for promise in self._oracle.promises:
            revocation = promise.event.revocation
            name, until_us = revocation.revocation_id, revocation.until_us
            if until_us is not None and promise.ends_s == NEVER_S and name in lifts:
                promise.ends_s = now_s()
                # A clock that is set back may show an earlier time at the commit than at the look.
                stepped = self._cluster.now_us() != now_us()
                if lifts[name].at_us < until_us and not stepped:
                    self._oracle.wrong.append(f"{name} was lifted before its time was up")

    async def _lift(self, promise: Promise) -> None:
        self._commands += 1
        # From the moment that the lift is requested, nothing is promised.
        promise.ends_s = min(promise.ends_s, now_s())
        name = f"rev_{self._commands}"
        lift = lift_of(promise.event, revocation_id=name, reason="", actor="admin:ada")
        await self._enforce(lift, None, lambda _: None)

    async def _enforce(
        self,
        revocation: Revocation,
        then: Revocation | None,
        committed: Callable[[CommittedEvent], None],
        change: Change | None = None,
    ) -> Receipt:
        """Repeat a command at any authority, under one key, until one returns the receipt."""
        name = revocation.revocation_id
        idempotency = IdempotentRequest(
            Key("admin:ada", name), hashlib.sha256(name.encode()).digest()
        )
        for attempt in count():
            # As the API does: a new name each time, and the key decides which one stays.
            fresh = f"{name}.{attempt}"
            command = LedgerCommand(
                idempotency,
                replace(revocation, revocation_id=fresh),
                exact=True,
                awaited=True,
                then=None if then is None else replace(then, revocation_id=fresh),
                change=change,
            )
            authority = self._random.choice(self._authorities())
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    done = await authority.run_inside(authority.sequencer.commit(command))
                committed(done)
                return await self._receipt(authority, done)
            except LostError as error:
                held = {event.revocation.revocation_id for event in self._events()}
                if error.revocation_id in held:
                    self._oracle.wrong.append(f"{error.revocation_id} is called lost, and is not")
                self._oracle.count["called lost"] += 1
                await asyncio.sleep(0.1)
            except (RescindError, TimeoutError):
                self._oracle.count["asked again"] += 1
                await asyncio.sleep(0.1)
        raise AssertionError

    async def _receipt(self, authority: Authority, committed: CommittedEvent) -> Receipt:
        target = CommittedEvent(
            committed.revocation_id, committed.epoch, committed.seq, committed.at_us
        )
        while True:
            async with asyncio.timeout(_TIMEOUT_S):
                given = await authority.run_inside(
                    authority.enforcer.receipt(target, timeout_s=_TIMEOUT_S / 2)
                )
            if isinstance(given, bytes):
                return receipts.decode(signed_envelope.decode(given).content)

    def _committed(self, given: Sequence[Promise]) -> None:
        """Record the promises of a committed command, for checks that demand its position."""
        for promise in given:
            if self._holds(promise.event):
                self._oracle.promises.append(promise)
                # A seq does not name its epoch. After a restore, operators let a term pass, so that
                # no sidecar answers from the former ledger (deploy/runbooks). This test does not.
                if promise.event.epoch == 1:
                    self._probe(promise, demanded=True)

    async def check_last_receipt(self) -> None:
        """Check at every verifier the tokens that the last receipt denies."""
        made = [each for each in self._oracle.promises if each.made_s < NEVER_S]
        for _ in range(4 if made else 0):
            await asyncio.sleep(self._random.uniform(0.0, 0.3))
            self._probe(max(made, key=lambda each: each.made_s), demanded=False)

    def _probe(self, promise: Promise, *, demanded: bool) -> None:
        """Check the tokens that this promise denies and that no other promise affects."""
        oracle = self._oracle
        free = [each for each in oracle.tokens if oracle.free(each, besides=promise)]
        self._check(promise, [each for each in free if promise.takes(each, writes=True)], demanded)

    def _enforced(self, promise: Promise, receipt: Receipt) -> None:
        event = promise.event
        if not self._holds(event):
            self._oracle.count["lost in a restore"] += 1
            if receipt.revocation_id in self._cluster.tables.receipts:
                what = f"{event.epoch}.{event.seq}"
                self._oracle.wrong.append(f"a receipt of {what}, which the ledger does not hold")
            return
        promise.made_s, promise.receipt = now_s(), receipt
        self._probe(promise, demanded=False)
        if event.revocation.effect != "revoke":
            self._liftable.append(promise)
        self._oracle.count[f"receipts: {event.revocation.effect}"] += 1
        for verified in receipt.verifiers:
            self._oracle.count[f"verifiers: {verified.outcome}"] += 1
        self._oracle.count["verifiers: grace"] += len(receipt.grace)
        if receipt.unknown_grace_until_us is not None:
            self._oracle.count["receipts: verifiers unknown"] += 1
            if not self._restored:
                self._oracle.wrong.append("a receipt of a ledger that knows every verifier")

    def _holds(self, event: Event) -> bool:
        """Return True if the ledger still holds this event, also after a restore."""
        return not self._restored or event in self._events()

    def _events(self) -> Collection[Event]:
        return {entry.event for _, entry in self._cluster.tables.entries}

    def lost(self) -> None:
        """Remove the promises whose events a restored backup does not hold."""
        self._restored = True
        events, kept = self._events(), self._cluster.tables.tokens
        oracle = self._oracle
        oracle.promises[:] = [each for each in oracle.promises if each.event in events]
        self._liftable[:] = [each for each in self._liftable if each.event in events]
        oracle.tokens[:] = [
            each for each in oracle.tokens if token_format.digest(each.text) in kept
        ]


def _events_of(
    done: CommittedEvent, revocation: Revocation, then: Revocation | None
) -> list[Event]:
    """Return the events of a command: one, or two under one id, of which the last is known."""
    effects = [revocation] if then is None else [revocation, then]
    return [
        Event(done.epoch, seq, done.at_us, replace(each, revocation_id=done.revocation_id))
        for seq, each in enumerate(effects, start=done.seq + 1 - len(effects))
    ]
