"""The port AuthorityLink of the sidecar: each request, over each transport, to one authority.

Over HTTP and NATS the product's own routes and subscriptions answer, so these tests also hold what
the simulation's authority does in their place.
"""

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
from tests.contracts import authorities, links
from tests.contracts.authorities import EVENTS, Linked, Opened
from tests.contracts.store import heartbeat
from tests.simulation.sidecar import SimulatedNatsTransport, SimulatedTransport
from tests.support.eventually import eventually
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory

from rescind.core import ledger, token_format
from rescind.core.ledger import Position
from rescind.core.secret import Secret
from rescind.errors import UnreachableError
from rescind.wire import enrolment, events, records
from rescind.wire.enrolment import Credential, EnrolmentRefused, EnrolmentRequest, Granted
from rescind.wire.heartbeat import Ack, Heartbeat, NoLease, Release, Reply, Since
from rescind.wire.lookups import LookupRequest
from rescind.wire.trust_statement import Purpose
from rescind.wire.usage_report import Used
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.transport import AuthorityBusyError
from rescind_sidecar.ports import AuthorityLink, InstanceCredentials, UnknownInstanceError
from rescind_sidecar.stats.counters import Counters

EPOCH = 1


@pytest.fixture(params=["ledger", "memory-http", "memory-nats", "http", "nats"])
def opened(request: pytest.FixtureRequest) -> Callable[[], Opened]:
    """Return how to open a link to an authority."""
    ways: dict[str, Callable[[], Callable[[], Opened]]] = {
        "ledger": lambda: authorities.ledger_in_memory,
        "memory-http": lambda: partial(authorities.over_wire, SimulatedTransport),
        "memory-nats": lambda: partial(authorities.over_wire, SimulatedNatsTransport),
        "http": lambda: authorities.over_http,
        "nats": lambda: partial(
            authorities.over_nats, str(request.getfixturevalue("servers")["nats"])
        ),
    }
    return ways[request.param]()


@dataclass(frozen=True)
class Enrolled:
    """An instance that the authority knows."""

    credentials: InstanceCredentials

    def heartbeat(self, counter: int, applied: Position | None = None) -> Heartbeat:
        beat = heartbeat(self.instance, counter, applied=applied)
        return replace(beat, trail=())

    @property
    def instance(self) -> bytes:
        return self.credentials.instance


async def answer_to(here: Linked, request: EnrolmentRequest) -> Granted | EnrolmentRefused:
    """Send a request to enrol, and verify the signature of its answer."""
    signed = await here.link.enrol(request)
    assert here.trust_store.verify(Purpose.ENROLMENT, signed)
    answer = enrolment.decode_answer(signed.content)
    assert answer.nonce == request.nonce
    return answer


async def enrolled(here: Linked) -> Enrolled:
    """Enrol an instance."""
    key, nonce = here.keys.fresh(), secrets.token_bytes(16)
    instance = enrolment.instance_of(key.public)
    shown = Credential(Secret(here.credential), "search", instance, nonce, "strict")
    box = here.trust_store.encrypt_for_authority(enrolment.encode_credential(shown))
    answer = await answer_to(here, EnrolmentRequest(key.public, nonce, box))
    assert isinstance(answer, Granted)
    assert (answer.instance, answer.epoch) == (instance, EPOCH)
    opened = key.open(answer.box)
    assert opened is not None
    found = enrolment.decode_instance_secrets(opened)
    assert found.edge_keys
    return Enrolled(InstanceCredentials(instance, found.secret))


def unenrolled_credentials(known: Enrolled) -> InstanceCredentials:
    """Return credentials whose secret no authority derived."""
    return replace(known.credentials, secret=bytes(32))


# Enrolment ---------------------------------------------------------------------------------------


async def test_a_credential_earns_a_secret_that_the_authority_recognises(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        found = await here.link.since(Since(EPOCH, 0), known.credentials)
        assert len(found.payloads) == EVENTS


async def test_two_instances_have_two_secrets(opened: Callable[[], Opened]) -> None:
    async with opened() as here:
        one, two = await enrolled(here), await enrolled(here)
    assert one.instance != two.instance
    assert one.credentials.secret != two.credentials.secret


async def test_without_a_credential_the_answer_is_the_trust_statement(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        request = EnrolmentRequest(here.keys.fresh().public, secrets.token_bytes(16), b"")
        answer = await answer_to(here, request)
    assert isinstance(answer, EnrolmentRefused)
    assert answer.statement


# Heartbeats --------------------------------------------------------------------------------------


async def test_a_heartbeat_earns_a_lease_at_the_end_of_the_ledger(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        beat = known.heartbeat(1)
        reply = await here.link.beat(beat, known.credentials)
    assert isinstance(reply, Reply)
    assert (reply.instance, reply.nonce) == (beat.instance, beat.nonce)
    assert (reply.position.epoch, reply.position.seq) == (EPOCH, EVENTS)
    assert reply.grant_term_ms > 0
    assert reply.payloads == ()


async def test_a_lease_brings_the_events_that_were_not_applied(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        passage = await here.link.since(Since(EPOCH, 0), known.credentials)
        applied = ledger.replay(ledger.genesis(EPOCH), passage.payloads[:1])
        reply = await here.link.beat(known.heartbeat(1, applied), known.credentials)
    assert isinstance(reply, Reply)
    assert reply.payloads == passage.payloads[1:]
    assert ledger.replay(applied, reply.payloads) == reply.position


async def test_a_stale_heartbeat_earns_no_lease_and_hears_the_counter(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        assert isinstance(await here.link.beat(known.heartbeat(5), known.credentials), Reply)
        stale = known.heartbeat(4)
        answer = await here.link.beat(stale, known.credentials)
    assert answer == NoLease(known.instance, stale.nonce, 5, over=False)


async def test_a_repeated_heartbeat_is_answered_as_by_a_busy_authority(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        beat = known.heartbeat(1)
        assert isinstance(await here.link.beat(beat, known.credentials), Reply)
        with pytest.raises(AuthorityBusyError):
            await here.link.beat(beat, known.credentials)


async def test_a_released_instance_earns_no_lease_any_more(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        sent = [known.heartbeat(1)]
        await here.link.beat(sent[0], known.credentials)

        async def refused() -> NoLease | None:
            trail = tuple(each.nonce for each in sent)
            sent.append(replace(known.heartbeat(len(sent) + 2), trail=trail))
            answer = await here.link.beat(sent[-1], known.credentials)
            return answer if isinstance(answer, NoLease) else None

        release = Release(known.instance, 2, (sent[0].nonce,))
        await here.link.release(release, known.credentials)
        answer = await eventually(refused)  # the release has no answer: it may arrive later
    assert answer is not None
    assert answer.over


# Missing events ----------------------------------------------------------------------------------


async def test_missing_events_come_in_their_order_from_the_requested_seq(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        whole = await here.link.since(Since(EPOCH, 0), known.credentials)
        rest = await here.link.since(Since(EPOCH, 2), known.credentials)
        none = await here.link.since(Since(EPOCH, EVENTS), known.credentials)
    assert [events.decode(each).seq for each in whole.payloads] == [1, 2, 3]
    assert (rest.epoch, rest.payloads) == (EPOCH, whole.payloads[2:])
    assert none.payloads == ()


async def test_of_another_epoch_no_event_is_returned(opened: Callable[[], Opened]) -> None:
    async with opened() as here:
        known = await enrolled(here)
        found = await here.link.since(Since(EPOCH + 1, 0), known.credentials)
    assert (found.epoch, found.payloads) == (EPOCH, ())


# Look-ups ----------------------------------------------------------------------------------------


async def test_a_look_up_returns_the_signed_record_of_its_token(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        asked = LookupRequest(token_format.digest(here.token), secrets.token_bytes(16))
        found = await here.link.look_up(asked, known.credentials)
    assert (found.nonce, found.token_hash) == (asked.nonce, asked.token_hash)
    assert (found.epoch, found.as_of) == (EPOCH, EVENTS)
    assert found.record is not None
    assert records.decode(found.record).token_hash == asked.token_hash


async def test_a_look_up_of_an_unknown_token_returns_no_record(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        asked = LookupRequest(hashlib.sha256(b"unknown").digest(), secrets.token_bytes(16))
        found = await here.link.look_up(asked, known.credentials)
    assert (found.nonce, found.token_hash, found.record) == (asked.nonce, asked.token_hash, None)
    assert (found.epoch, found.as_of) == (EPOCH, EVENTS)


# Senders that are not known ----------------------------------------------------------------------


@pytest.mark.parametrize("request_of", ["beat", "since"])
async def test_an_instance_with_a_wrong_secret_has_to_enrol_again(
    opened: Callable[[], Opened], request_of: str
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        requests: dict[str, Callable[[], Awaitable[object]]] = {
            "beat": lambda: here.link.beat(known.heartbeat(1), unenrolled_credentials(known)),
            "since": lambda: here.link.since(Since(EPOCH, 0), unenrolled_credentials(known)),
        }
        with pytest.raises(UnknownInstanceError):
            await requests[request_of]()


async def test_a_look_up_with_a_wrong_secret_gets_no_answer(
    opened: Callable[[], Opened],
) -> None:
    async with opened() as here:
        known = await enrolled(here)
        asked = LookupRequest(token_format.digest(here.token), secrets.token_bytes(16))
        began_s = time.monotonic()
        with pytest.raises(UnreachableError):
            await here.link.look_up(asked, unenrolled_credentials(known))
        took_s = time.monotonic() - began_s
    soon(took_s, at_most_s=2)


async def test_a_report_without_an_answer_raises_nothing(opened: Callable[[], Opened]) -> None:
    async with opened() as here:
        known = await enrolled(here)
        position = Position(EPOCH, EVENTS, bytes(32))
        for credentials in (known.credentials, unenrolled_credentials(known)):
            await here.link.acknowledge(Ack(known.instance, 1, position), credentials)
            await here.link.used(Used(known.instance, ("tok_1",), 1), credentials)


# An authority that is away -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ledger", "memory-http", "memory-nats", "http", "nats"])
async def test_without_an_authority_every_request_fails_at_once(
    way: str, request: pytest.FixtureRequest
) -> None:
    known = Enrolled(InstanceCredentials(bytes(16), bytes(32)))
    if way == "ledger":
        async with authorities.ledger_in_memory() as here:
            assert isinstance(here.link, LedgerInMemory)
            here.link.reachable = False
            await _all_fail(here.link, known)
        return
    ways: dict[str, links.Linked] = {
        "memory-http": links.http_in_memory,
        "memory-nats": links.nats_in_memory,
        "http": links.over_http,
        "nats": partial(links.over_nats, nats_url=_nats(request) if way == "nats" else ""),
    }
    async with ways[way]() as transport:
        await _all_fail(AuthorityClient(transport, Counters()), known)


def _nats(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("servers")["nats"])


async def _all_fail(link: AuthorityLink, known: Enrolled) -> None:
    credentials = known.credentials
    requests: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: link.enrol(EnrolmentRequest(bytes(32), bytes(16), b"")),
        lambda: link.beat(known.heartbeat(1), credentials),
        lambda: link.since(Since(EPOCH, 0), credentials),
        lambda: link.look_up(LookupRequest(bytes(32), bytes(16)), credentials),
    )
    for send in requests:
        began_s = time.monotonic()
        with pytest.raises(UnreachableError):
            await send()
        soon(time.monotonic() - began_s, at_most_s=2)
