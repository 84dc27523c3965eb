"""Enrolment: only the authority's own answer to this very request makes an instance speak."""

import dataclasses
import os
from collections.abc import Callable

import pytest
from tests.support.sidecar import EDGE_KEY, LedgerInMemory, now_us

from rescind.core.generations import Writer, size_bytes
from rescind.core.secret import Secret
from rescind.wire import enrolment
from rescind.wire.enrolment import Belongings, Granted, Refused, Request
from rescind.wire.sealed import Sealed, unsigned
from rescind.wire.trust import Purpose
from rescind_runtime.signing import Keyring, Trust
from rescind_sidecar.dice import SystemDice
from rescind_sidecar.notary import FreshKeys, TrustNotary
from rescind_sidecar.usecases.enrol import Enrol
from rescind_sidecar.usecases.incarnations import Incarnation, Incarnations
from rescind_sidecar.usecases.tally import Tally

SLOTS = 1 << 4
ROOT = bytes(range(32))


class TablesInMemory:
    """Tables that no process maps (port Tables)."""

    def begin(self, instance: bytes) -> Writer:
        words = memoryview(bytearray(size_bytes(SLOTS))).cast("Q")
        return Writer(words, instance=instance, boot=bytes(16), slots=SLOTS)

    def retire(self) -> None:
        """Nobody looks."""


class Enrolling(LedgerInMemory):
    """An authority that answers enrolments, through whoever stands in the way."""

    def __init__(self) -> None:
        super().__init__()
        self.keyring = Keyring.create(root=ROOT, now_us=now_us())
        self.between: Callable[[Sealed], Sealed] = lambda signed: signed
        self.requests: list[Request] = []

    async def enrol(self, message: Request) -> Sealed:
        self.requests.append(message)
        return self.between(await super().enrol(message))

    def altered(self, **changed: object) -> None:
        """Answer truly signed, but with other facts."""

        def alter(signed: Sealed) -> Sealed:
            answer = enrolment.decode_answer(signed.content)
            return self._sign(dataclasses.replace(answer, **changed))

        self.between = alter

    def refuse(self, why: str, *, nonce: bytes | None = None) -> None:
        """Refuse the credential."""

        def answer(_signed: Sealed) -> Sealed:
            return self._sign(Refused(nonce or self.requests[-1].nonce, why))

        self.between = answer

    def _sign(self, answer: Granted | Refused) -> Sealed:
        return self.keyring.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer))


class World:
    """An instance that is to enrol."""

    def __init__(self) -> None:
        self.link = Enrolling()
        self.trust = Trust(self.link.keyring.root, self.link.keyring.statement)
        self.tally = Tally()
        self.incarnations = Incarnations(TablesInMemory(), FreshKeys(), self.tally)
        self.usecase = Enrol(
            credential=Secret("rsc_svc_the-credential"),
            service="search",
            posture="strict",
            link=self.link,
            notary=TrustNotary(self.trust),
            dice=SystemDice(),
            tally=self.tally,
        )

    @property
    def incarnation(self) -> Incarnation:
        return self.incarnations.current

    async def enrol(self) -> bool:
        return await self.usecase.enrol(self.incarnation)

    async def refuses(self, *, answered: bool = True) -> None:
        """Fail unless the answer changes nothing, and is counted if there was one."""
        before, counted = self._facts(), self.tally.enrolments_refused
        assert await self.enrol() is False
        assert self._facts() == before
        assert self.tally.enrolments_refused == counted + answered

    def _facts(self) -> tuple[object, ...]:
        now = self.incarnation
        return (now, now.instance, now.voice, now.epoch, now.edge_keys)


@pytest.fixture
def world() -> World:
    return World()


async def test_an_instance_that_enrols_has_its_secret_its_epoch_and_the_edge_keys(world: World):
    assert await world.enrol()
    now = world.incarnation
    assert now.voice is not None
    assert (now.voice.instance, now.voice.secret) == (
        now.instance,
        world.link.secret(now.instance),
    )
    assert (now.epoch, now.edge_keys) == (1, (EDGE_KEY,))


async def test_the_credential_leaves_only_in_a_box_that_is_bound_to_the_request(world: World):
    await world.enrol()
    (request,) = world.link.requests
    assert b"the-credential" not in enrolment.encode_request(request)
    opened = world.link.keyring.open(request.box)
    assert opened is not None
    shown = enrolment.decode_credential(opened)
    assert (shown.service, shown.instance, shown.nonce) == (
        "search",
        enrolment.instance_of(request.public),
        request.nonce,
    )


async def test_a_refused_credential_enrols_nobody(world: World):
    world.link.refuse("the credential is not accepted: revoked")
    await world.refuses()


async def test_an_answer_that_was_recorded_earlier_is_no_answer(world: World):
    recorded: list[Sealed] = []

    def record(signed: Sealed) -> Sealed:
        recorded.append(signed)
        return recorded[0]

    world.link.between = record
    assert await world.enrol()
    world.link.position = dataclasses.replace(world.link.position, epoch=2)
    await world.refuses()


async def test_an_answer_to_another_nonce_is_no_answer(world: World):
    world.link.altered(nonce=bytes(16))
    await world.refuses()
    world.link.refuse("no", nonce=bytes(16))
    await world.refuses()


async def test_a_refusal_is_told_from_what_is_no_answer(world: World):
    """After a refusal a sidecar asks less often, and after anything else soon again."""
    world.link.refuse("no")
    await world.refuses()
    assert world.usecase.refused
    world.link.refuse("no", nonce=bytes(16))
    await world.refuses()
    assert not world.usecase.refused
    world.link.between = lambda signed: signed
    assert await world.enrol()
    assert not world.usecase.refused


async def test_an_answer_for_another_instance_is_no_answer(world: World):
    world.link.altered(instance=bytes(16))
    await world.refuses()


async def test_a_secret_that_was_sealed_to_somebody_else_is_none(world: World):
    other = FreshKeys().fresh()
    belongings = enrolment.encode_belongings(Belongings(bytes(32), ()))
    world.link.altered(box=world.link.keyring.seal_to(other.public, belongings))
    await world.refuses()


@pytest.mark.parametrize("box", [b"", bytes(48), bytes(1000)])
async def test_a_box_that_is_none_opens_nothing(world: World, box: bytes):
    world.link.altered(box=box)
    await world.refuses()


async def test_what_lies_in_the_box_must_be_belongings(world: World):
    key = world.incarnation.key.public
    world.link.altered(box=world.link.keyring.seal_to(key, b"\x93\x01\xc4\x01x\x90"))
    await world.refuses()


async def test_an_answer_that_nobody_signed_changes_nothing(world: World):
    world.link.between = lambda signed: unsigned(signed.content)
    await world.refuses()


@pytest.mark.parametrize("purpose", [Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS])
async def test_an_answer_that_a_key_for_something_else_signed_changes_nothing(
    world: World, purpose: Purpose
):
    world.link.between = lambda signed: world.link.keyring.sign(purpose, signed.content)
    await world.refuses()


async def test_an_answer_of_another_installation_changes_nothing(world: World):
    other = Keyring.create(root=os.urandom(32), now_us=now_us())

    def impersonate(signed: Sealed) -> Sealed:
        answer = enrolment.decode_answer(signed.content)
        content = enrolment.encode_answer(dataclasses.replace(answer, statement=other.statement))
        return other.sign(Purpose.ENROLMENT, content)

    world.link.between = impersonate
    await world.refuses()
    assert world.trust.serial == 1


async def test_an_authority_that_cannot_be_reached_is_asked_again_later(world: World):
    world.link.reachable = False
    await world.refuses(answered=False)
    world.link.reachable = True
    assert await world.enrol()


async def test_a_statement_that_the_root_did_not_sign_changes_no_key(world: World):
    root = os.urandom(32)
    other = Keyring.create(root=root, now_us=now_us())
    newer = other.rotated(Purpose.EVENTS, root=root, now_us=now_us())
    world.link.altered(statement=newer.statement)
    assert await world.enrol()
    assert world.trust.serial == 1


async def test_enrolling_brings_the_newest_keys(world: World):
    world.link.keyring = world.link.keyring.rotated(Purpose.EVENTS, root=ROOT, now_us=now_us())
    assert await world.enrol()
    assert world.trust.serial == 2


async def test_a_sidecar_that_slept_through_rotations_of_the_enrolment_key_enrols_still(
    world: World,
):
    for _ in range(3):
        rotated = world.link.keyring.rotated(Purpose.ENROLMENT, root=ROOT, now_us=now_us())
        world.link.keyring = rotated
    assert await world.enrol()
    assert world.trust.serial == 4


async def test_content_that_nobody_can_read_under_an_unknown_key_changes_nothing(world: World):
    other = Keyring.create(root=os.urandom(32), now_us=now_us())
    for content in (b"", b"\xc1", b"\x92\x01\x01", bytes(1000)):
        world.link.between = lambda _, content=content: other.sign(Purpose.ENROLMENT, content)
        await world.refuses()
