"""Enrolment: only the authority's own answer to this very request makes an instance speak."""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.sidecar import EDGE_KEY, LedgerInMemory, now_us
from tests.support.tables import TablesInMemory

from rescind.core.secret import Secret
from rescind.wire import enrolment
from rescind.wire.enrolment import EnrolmentRefused, EnrolmentRequest, Granted, InstanceSecrets
from rescind.wire.signed_envelope import SignedEnvelope, unsigned
from rescind.wire.trust_statement import Purpose
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import KINDS, Keyring
from rescind_runtime.crypto.trust import Trust
from rescind_sidecar.http import messages
from rescind_sidecar.http.health import Operations
from rescind_sidecar.prometheus import SidecarMetrics
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore
from rescind_sidecar.usecases.instance import SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.lease.enrol import Enrol

ROOT = bytes(range(32))


class Enrolling(LedgerInMemory):
    """An authority that answers enrolments, through an attacker that may change the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.keyring = Keyring.create(root=ROOT, now_us=now_us())
        self.between: Callable[[SignedEnvelope], SignedEnvelope] = lambda signed: signed
        self.meddles_first = False
        """Whether who stands in the way answers also the question for the newest statement."""
        self.requests: list[EnrolmentRequest] = []

    async def enrol(self, message: EnrolmentRequest) -> SignedEnvelope:
        self.requests.append(message)
        answer = await super().enrol(message)
        return self.between(answer) if message.box or self.meddles_first else answer

    def altered(self, **changed: Any) -> None:
        """Answer truly signed, but with other facts."""

        def alter(signed: SignedEnvelope) -> SignedEnvelope:
            answer = enrolment.decode_answer(signed.content)
            assert isinstance(answer, Granted)
            return self._sign(dataclasses.replace(answer, **changed))

        self.between = alter

    def refuse(self, why: str, *, nonce: bytes | None = None) -> None:
        """Refuse the credential."""

        def answer(_signed: SignedEnvelope) -> SignedEnvelope:
            return self._sign(EnrolmentRefused(nonce or self.requests[-1].nonce, why))

        self.between = answer

    def _sign(self, answer: Granted | EnrolmentRefused) -> SignedEnvelope:
        return self.keyring.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer))


def always(answer: SignedEnvelope) -> Callable[[SignedEnvelope], SignedEnvelope]:
    return lambda _: answer


class World:
    """An instance that is to enrol."""

    def __init__(self) -> None:
        self.link = Enrolling()
        self.trust = Trust(self.link.keyring.root, self.link.keyring.statement)
        self.tally = Counters()
        self.instances = SidecarInstances(TablesInMemory(), FreshKeys(), self.tally)
        self.usecase = Enrol(
            credential=Secret("rsc_svc_the-credential"),
            service="search",
            posture="strict",
            link=self.link,
            trust_store=UpdatingTrustStore(self.trust, wall_us=now_us),
            random_source=SystemRandomSource(),
            tally=self.tally,
        )

    @property
    def current(self) -> SidecarInstance:
        return self.instances.current

    async def enrol(self) -> bool:
        return await self.usecase.enrol(self.current)

    async def refuses(self, *, answered: bool = True) -> None:
        """Fail unless the answer changes nothing, and is counted if there was one."""
        before, counted = self._facts(), self.tally.enrolments_refused
        assert await self.enrol() is False
        assert self._facts() == before
        assert self.tally.enrolments_refused == counted + answered

    def _facts(self) -> tuple[object, ...]:
        now = self.current
        return (now, now.instance, now.credentials, now.epoch, now.edge_keys)


@pytest.fixture
def world() -> World:
    return World()


async def test_an_instance_that_enrols_has_its_secret_its_epoch_and_the_edge_keys(
    world: World,
) -> None:
    assert await world.enrol()
    now = world.current
    assert now.credentials is not None
    assert (now.credentials.instance, now.credentials.secret) == (
        now.instance,
        world.link.secret(now.instance),
    )
    assert (now.epoch, now.edge_keys) == (1, (EDGE_KEY,))


async def test_the_credential_leaves_only_in_a_box_that_is_bound_to_the_request(
    world: World,
) -> None:
    await world.enrol()
    asked, request = world.link.requests
    assert asked.box == b""  # for the newest statement alone
    assert b"the-credential" not in enrolment.encode_request(request)
    opened = world.link.keyring.open(request.box)
    assert opened is not None
    shown = enrolment.decode_credential(opened)
    assert (shown.service, shown.instance, shown.nonce) == (
        "search",
        enrolment.instance_of(request.public),
        request.nonce,
    )


async def test_a_refused_credential_does_not_enrol_the_sidecar(world: World) -> None:
    world.link.refuse("the credential is not accepted: revoked")
    await world.refuses()


async def test_a_sidecar_that_is_refused_reports_it_as_its_readiness(world: World) -> None:
    clock = SystemClock()
    metrics = SidecarMetrics(
        world.instances,
        world.tally,
        clock,
        nats=lambda: True,
        link=lambda: "nats",
        redis=None,
    )
    operations = Operations(world.instances, clock, metrics, distrust=lambda: None)

    def detail() -> str:
        answer = operations(messages.HttpRequest("GET", "/readyz", b"", ()))
        found: dict[str, str] = json.loads(answer.body)
        return found["detail"]

    assert "not reached" in detail()
    assert not world.usecase.tried.is_set()
    world.link.refuse("the credential is not accepted: revoked. Make a new one")
    await world.refuses()
    assert world.usecase.tried.is_set()
    assert detail() == (
        "no lease, and is refused another: the credential is not accepted: revoked. Make a new one"
    )
    world.link.between = lambda signed: signed
    assert await world.enrol()
    assert world.usecase.done.is_set()
    assert "not reached" in detail()


async def test_a_replayed_answer_is_refused(world: World) -> None:
    recorded: list[SignedEnvelope] = []

    def record(signed: SignedEnvelope) -> SignedEnvelope:
        recorded.append(signed)
        return recorded[0]

    world.link.between = record
    assert await world.enrol()
    world.link.position = dataclasses.replace(world.link.position, epoch=2)
    await world.refuses()


async def test_an_answer_to_another_nonce_is_refused(world: World) -> None:
    world.link.altered(nonce=bytes(16))
    await world.refuses()
    world.link.refuse("no", nonce=bytes(16))
    await world.refuses()


async def test_a_refusal_is_distinguished_from_an_invalid_answer(world: World) -> None:
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


async def test_an_answer_for_another_instance_is_refused(world: World) -> None:
    world.link.altered(instance=bytes(16))
    await world.refuses()


async def test_a_secret_that_was_encrypted_for_another_key_is_refused(world: World) -> None:
    other = FreshKeys().fresh()
    instance_secrets = enrolment.encode_instance_secrets(InstanceSecrets(bytes(32), ()))
    world.link.altered(box=world.link.keyring.encrypt_for(other.public, instance_secrets))
    await world.refuses()


@pytest.mark.parametrize("box", [b"", bytes(48), bytes(1000)])
async def test_an_invalid_box_is_refused(world: World, box: bytes) -> None:
    world.link.altered(box=box)
    await world.refuses()


async def test_a_box_must_contain_the_secrets_of_an_instance(world: World) -> None:
    key = world.current.key.public
    world.link.altered(box=world.link.keyring.encrypt_for(key, b"\x93\x01\xc4\x01x\x90"))
    await world.refuses()


async def test_an_unsigned_answer_changes_nothing(world: World) -> None:
    world.link.between = lambda signed: unsigned(signed.content)
    await world.refuses()


@pytest.mark.parametrize("purpose", [Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS])
async def test_an_answer_signed_by_a_key_for_another_purpose_changes_nothing(
    world: World, purpose: Purpose
) -> None:
    world.link.between = lambda signed: world.link.keyring.sign(purpose, signed.content)
    await world.refuses()


async def test_an_answer_of_another_installation_changes_nothing(world: World) -> None:
    other = Keyring.create(root=os.urandom(32), now_us=now_us())

    def impersonate(signed: SignedEnvelope) -> SignedEnvelope:
        answer = enrolment.decode_answer(signed.content)
        content = enrolment.encode_answer(dataclasses.replace(answer, statement=other.statement))
        return other.sign(Purpose.ENROLMENT, content)

    world.link.between = impersonate
    await world.refuses()
    assert world.trust.serial == 1


async def test_an_authority_that_cannot_be_reached_is_asked_again_later(world: World) -> None:
    world.link.reachable = False
    await world.refuses(answered=False)
    world.link.reachable = True
    assert await world.enrol()


async def test_a_statement_that_the_root_did_not_sign_changes_no_key(world: World) -> None:
    root = os.urandom(32)
    other = Keyring.create(root=root, now_us=now_us())
    newer = other.rotated(Purpose.EVENTS, root=root, now_us=now_us())
    world.link.altered(statement=newer.statement)
    assert await world.enrol()
    assert world.trust.serial == 1


async def test_enrolling_brings_the_newest_keys(world: World) -> None:
    world.link.keyring = world.link.keyring.rotated(Purpose.EVENTS, root=ROOT, now_us=now_us())
    assert await world.enrol()
    assert world.trust.serial == 2


async def test_a_sidecar_that_missed_rotations_of_the_enrolment_key_still_enrols(
    world: World,
) -> None:
    for _ in range(3):
        rotated = world.link.keyring.rotated(Purpose.ENROLMENT, root=ROOT, now_us=now_us())
        world.link.keyring = rotated
    assert await world.enrol()
    assert world.trust.serial == 4


async def test_unreadable_content_under_an_unknown_key_changes_nothing(
    world: World,
) -> None:
    other = Keyring.create(root=os.urandom(32), now_us=now_us())
    for content in (b"", b"\xc1", b"\x92\x01\x01", bytes(1000)):
        world.link.between = always(other.sign(Purpose.ENROLMENT, content))
        await world.refuses()


class Thief(Enrolling):
    """Who has a copy of a keyring, and stands where the authority should."""

    def __init__(self, stolen: Keyring) -> None:
        super().__init__()
        self.keyring = stolen

    async def enrol(self, message: EnrolmentRequest) -> SignedEnvelope:
        self.requests.append(message)
        if not message.box or self.keyring.open(message.box) is None:
            return self._sign(EnrolmentRefused(message.nonce, "no", self.keyring.statement))
        return await LedgerInMemory.enrol(self, message)

    @property
    def read(self) -> bool:
        """Whether a credential could be read."""
        return any(self.keyring.open(each.box) is not None for each in self.requests if each.box)


def facing(link: Enrolling, trust: Trust, *, wall_us: Callable[[], int] = now_us) -> World:
    """Return an instance that begins with this trust, before this authority."""
    world = World()
    world.link, world.trust = link, trust
    world.usecase = Enrol(
        credential=Secret("rsc_svc_the-credential"),
        service="search",
        posture="strict",
        link=link,
        trust_store=UpdatingTrustStore(trust, wall_us=wall_us),
        random_source=SystemRandomSource(),
        tally=world.tally,
    )
    return world


LIFE_US = 3_600 * 1_000_000


def ending(*, began_us: int) -> Keyring:
    return Keyring.create(root=ROOT, now_us=began_us, life_us=LIFE_US)


def trust_of(keyring: Keyring) -> Trust:
    return Trust(keyring.root, keyring.statement)


@pytest.mark.parametrize("how", ["retired", "all retired", "rotated twice"])
async def test_a_stolen_keyring_enrols_no_sidecar_that_knows_of_its_end_and_reads_nothing(
    how: str,
) -> None:
    stolen = now = ending(began_us=now_us())
    if how == "rotated twice":
        for _ in range(2):
            now = now.rotated("enrolment", root=ROOT, now_us=now_us())
    else:
        kinds = KINDS if how == "all retired" else ("enrolment",)
        now = stolen.retired(kinds, root=ROOT, now_us=now_us())
    thief = Thief(stolen)
    world = facing(thief, trust_of(now))
    for _ in range(3):
        await world.refuses()
    assert all(not each.box for each in thief.requests)


async def test_a_stolen_keyring_enrols_a_fresh_sidecar_only_until_its_statement_ends() -> None:
    stolen = ending(began_us=now_us() - LIFE_US // 2)
    before = facing(Thief(stolen), trust_of(stolen))
    assert await before.enrol()  # what holds, and is written down: an old trust file believes him
    thief = Thief(stolen)
    after = facing(thief, trust_of(stolen), wall_us=lambda: now_us() + LIFE_US)
    for _ in range(3):
        await after.refuses(answered=False)
        assert after.usecase.refused  # so it asks less often
    assert not thief.read
    assert all(not each.box for each in thief.requests)


async def test_a_credential_is_never_sent_under_a_statement_that_ended() -> None:
    expired = ending(began_us=now_us() - 2 * LIFE_US)
    link = Enrolling()
    link.keyring = expired
    world = facing(link, trust_of(expired))
    await world.refuses(answered=False)
    assert all(not each.box for each in link.requests)
    # The authority renews its statement: the sidecar finds out by itself.
    link.keyring = expired.restated(root=ROOT, now_us=now_us())
    assert await world.enrol()


async def test_a_sidecar_whose_clock_is_before_its_statement_sends_no_credential() -> None:
    link = Enrolling()
    link.keyring = ending(began_us=now_us())
    world = facing(link, trust_of(link.keyring), wall_us=lambda: 1_000_000)  # no clock at boot
    await world.refuses(answered=False)
    assert all(not each.box for each in link.requests)


@pytest.mark.parametrize("rotations", [1, 2, 3])
async def test_a_sidecar_that_missed_rotations_of_the_sealing_key_still_enrols(
    rotations: int,
) -> None:
    link = Enrolling()
    old = trust_of(link.keyring)
    for _ in range(rotations):
        link.keyring = link.keyring.rotated("sealing", root=ROOT, now_us=now_us())
    world = facing(link, old)
    assert await world.enrol()
    (request,) = (each for each in link.requests if each.box)
    assert trust_of(link.keyring).serial == world.trust.serial
    assert link.keyring.open(request.box) is not None


async def test_a_credential_is_encrypted_for_no_sealing_key_that_was_retired_before() -> None:
    """After `keys retire all` the first that a sidecar hears is the wish that it enrol again."""
    link = Thief(Keyring.create(root=ROOT, now_us=now_us()))
    stolen = link.keyring
    world = facing(link, trust_of(stolen))
    assert await world.enrol()
    link.keyring = stolen.retired(KINDS, root=ROOT, now_us=now_us())
    link.requests.clear()
    assert await world.enrol()
    assert all(stolen.open(each.box) is None for each in link.requests)


async def test_a_box_for_a_key_that_was_retired_meanwhile_is_encrypted_again_at_once() -> None:
    link = Thief(Keyring.create(root=ROOT, now_us=now_us()))
    world = facing(link, trust_of(link.keyring))
    newer = link.keyring.retired(("sealing",), root=ROOT, now_us=now_us())

    first = link._sign

    def retire(answer: Granted | EnrolmentRefused) -> SignedEnvelope:
        signed = first(answer)
        link.keyring = newer
        return signed

    link._sign = retire  # type: ignore[method-assign]  # after the question
    assert await world.enrol() is False
    assert not world.usecase.refused  # it need not wait for the next heartbeat
    assert await world.enrol()


async def test_an_older_authority_that_sends_no_statement_still_enrols() -> None:
    link = Enrolling()
    link.meddles_first = True

    def older(signed: SignedEnvelope) -> SignedEnvelope:
        answer = enrolment.decode_answer(signed.content)
        if isinstance(answer, EnrolmentRefused):
            return link._sign(EnrolmentRefused(answer.nonce, "the credential was not sealed to us"))
        return signed

    link.between = older
    assert await facing(link, trust_of(link.keyring)).enrol()


async def test_no_credential_is_sent_before_an_authority_has_sent_the_newest_statement() -> None:
    """Else a recorder of NATS, who has an old sealing key, could have it sealed to that."""
    other = Keyring.create(root=os.urandom(32), now_us=now_us())
    recorded: list[SignedEnvelope] = []

    def record(signed: SignedEnvelope) -> SignedEnvelope:
        recorded.append(signed)
        return signed

    first = Enrolling()
    first.meddles_first, first.between = True, record
    assert await facing(first, trust_of(first.keyring)).enrol()
    answers = [other.sign(Purpose.ENROLMENT, each) for each in (b"", b"\xc1", bytes(1000))]
    for answer in (*answers, unsigned(recorded[0].content), recorded[0]):
        link = Enrolling()
        link.keyring = first.keyring
        world = facing(link, trust_of(link.keyring))
        link.meddles_first, link.between = True, always(answer)
        await world.refuses()
        assert all(not each.box for each in link.requests)
        link.between = lambda signed: signed
        assert await world.enrol()


async def test_a_sidecar_follows_to_a_new_root_key_when_it_enrols() -> None:
    link, new_root = Enrolling(), os.urandom(32)
    old = trust_of(link.keyring)
    link.keyring = link.keyring.rerooted(root=ROOT, new_root=new_root, now_us=now_us())
    world = facing(link, old)
    assert await world.enrol()
    assert world.trust.root == link.keyring.root
