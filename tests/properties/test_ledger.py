"""The ledger's chain and the batches that carry it, against a list of all payloads."""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rescind.core import ledger
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind.wire import codec, events, signed_envelope

texts = st.text(max_size=8)
times_us = st.none() | st.integers(0, 2**63)


class LedgerMachine(RuleBasedStateMachine):
    @initialize(epoch=st.integers(1, codec.MAX_ORDINAL))
    def begin(self, epoch: int) -> None:
        self.position = ledger.genesis(epoch)
        self.history: list[Event] = []
        self.heads = [hashlib.sha256(epoch.to_bytes(8, "big")).digest()]
        self.payloads: list[bytes] = []

    @rule(
        handles=st.lists(texts, min_size=1, max_size=8),
        effect=texts,
        reason=texts,
        scopes=st.lists(texts, max_size=3),
        issued_before_us=times_us,
        until_us=times_us,
        lifts=st.none() | texts,
    )
    def commit(  # noqa: PLR0917 hypothesis names every argument
        self,
        handles: list[str],
        effect: str,
        reason: str,
        scopes: list[str],
        issued_before_us: int | None,
        until_us: int | None,
        lifts: str | None,
    ) -> None:
        selector = Selector(tuple(Handle(handle) for handle in handles))
        revocation = Revocation(
            revocation_id="rev",
            selector=selector,
            effect=effect,
            reason=reason,
            actor="",
            issued_before_us=issued_before_us,
            until_us=until_us,
            scopes=tuple(scopes),
            lifts=lifts,
        )
        event = Event(self.position.epoch, self.position.seq + 1, 0, revocation)
        payload = events.encode(event)
        self.position = self.position.after(payload)
        self.history.append(event)
        self.payloads.append(payload)
        self.heads.append(hashlib.sha256(self.heads[-1] + payload).digest())

    @invariant()
    def the_position_is_what_the_whole_list_says(self) -> None:
        if hasattr(self, "heads"):
            epoch = self.position.epoch
            assert self.position == Position(epoch, len(self.history), self.heads[-1])

    @precondition(lambda self: self.payloads)
    @rule(data=st.data())
    def a_batch_carries_any_stretch_of_it(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, len(self.payloads) - 1))
        last = data.draw(st.integers(first + 1, len(self.payloads)))
        sent = events.Batch(
            epoch=self.position.epoch,
            first_seq=first + 1,
            before=self.heads[first],
            after=self.heads[last],
            awaited=False,
            payloads=tuple(self.payloads[first:last]),
        )
        batch = events.decode_batch(events.encode_batch(sent, signed_envelope.unsigned))
        assert batch == sent
        assert [events.decode(payload) for payload in batch.payloads] == self.history[first:last]
        reached = ledger.replay(Position(batch.epoch, first, batch.before), batch.payloads)
        assert reached == Position(batch.epoch, last, batch.after)

    @precondition(lambda self: len(self.payloads) > 1)
    @rule(data=st.data())
    def leaving_one_out_or_swapping_two_does_not_lead_to_the_head(
        self, data: st.DataObject
    ) -> None:
        place = data.draw(st.integers(0, len(self.payloads) - 2))
        start = ledger.genesis(self.position.epoch)
        without = self.payloads[:place] + self.payloads[place + 1 :]
        swapped = [*self.payloads]
        swapped[place : place + 2] = reversed(swapped[place : place + 2])
        for wrong in (without, swapped):
            assert ledger.replay(start, wrong).head != self.position.head


TestLedger = LedgerMachine.TestCase
