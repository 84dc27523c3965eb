"""What a sidecar believes of an answer to its look-up: what the authority said to this very one."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from nats.aio.client import NO_RESPONDERS_STATUS, Client
from nats.aio.msg import Msg
from nats.js.api import Header

from rescind.core import instance_mac
from rescind.core.ledger import Position
from rescind.errors import UnreachableError
from rescind.wire import heartbeat, lookups, nats_subjects, signed_envelope
from rescind.wire.lookups import LookupAnswer, LookupRequest, LookupUnavailable
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.nats_transport import NatsTransport
from rescind_sidecar.link.transport import Accept, AuthorityBusyError
from rescind_sidecar.ports import InstanceCredentials
from rescind_sidecar.stats.counters import Counters

CREDENTIALS = InstanceCredentials(bytes(16), bytes(range(32)))
OTHER = InstanceCredentials(bytes(15) + b"1", bytes(32))
ASKED = LookupRequest(bytes(32), b"n" * 16)
RIGHT = LookupAnswer(1, 7, None, ASKED.nonce, ASKED.token_hash)


def sent(
    content: bytes,
    credentials: InstanceCredentials = CREDENTIALS,
    way: bytes = instance_mac.TO_SIDECAR,
) -> bytes:
    return signed_envelope.encode(
        SignedEnvelope(
            content, credentials.instance, instance_mac.tag(credentials.secret, way, content)
        )
    )


def answer(
    resolved: LookupAnswer,
    credentials: InstanceCredentials = CREDENTIALS,
    way: bytes = instance_mac.TO_SIDECAR,
) -> bytes:
    return sent(lookups.encode_answer(resolved), credentials, way)


LEASE = heartbeat.encode_reply(
    heartbeat.Reply(CREDENTIALS.instance, b"n" * 16, Position(1, 7, bytes(32)), 1, 1, ())
)
WRONG = {
    "empty": b"",
    "a wish to enrol again": heartbeat.ENROL_AGAIN,
    "not a message": b"\xc1",
    "without an envelope": lookups.encode_answer(RIGHT),
    "of an older authority": lookups.encode_answer(LookupAnswer(1, 7, None)),
    "without a MAC": signed_envelope.encode(
        SignedEnvelope(lookups.encode_answer(RIGHT), CREDENTIALS.instance)
    ),
    "to another instance": answer(RIGHT, OTHER),
    "under another secret": answer(RIGHT, replace(CREDENTIALS, secret=OTHER.secret)),
    "in the other direction": answer(RIGHT, way=instance_mac.TO_AUTHORITY),
    "to another nonce": answer(replace(RIGHT, nonce=b"o" * 16)),
    "about another hash": answer(replace(RIGHT, token_hash=b"h" * 32)),
    "to no nonce": answer(LookupAnswer(1, 7, None)),
    "a lease": sent(LEASE),
    "not now, to another nonce": sent(
        lookups.encode_unavailable(LookupUnavailable(b"o" * 16, bytes(32)))
    ),
    "not now, without a MAC": lookups.encode_unavailable(LookupUnavailable(b"n" * 16, bytes(32))),
}


class Answering:
    """A transport on which these answers come, one after the other."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        assert accept is not None
        for each in self._answers:
            if accept(each):
                return each
        raise UnreachableError("the time is up")

    async def send(self, subject: str, payload: bytes) -> None:
        raise NotImplementedError


async def look_up(*answers: bytes, tally: Counters | None = None) -> LookupAnswer:
    return await AuthorityClient(Answering(answers), tally or Counters()).look_up(
        ASKED, CREDENTIALS
    )


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_answer_is_ignored_and_the_right_one_after_it_counts(wrong: str) -> None:
    with pytest.raises(UnreachableError):
        await look_up(WRONG[wrong])
    tally = Counters()
    assert await look_up(WRONG[wrong], answer(RIGHT), tally=tally) == RIGHT
    assert tally.messages_refused == 1


async def test_a_not_now_of_the_authority_is_accepted_at_once() -> None:
    not_now = sent(lookups.encode_unavailable(LookupUnavailable(b"n" * 16, bytes(32))))
    with pytest.raises(AuthorityBusyError):
        await look_up(*WRONG.values(), not_now, answer(RIGHT))


class Published(Client):
    """A client of NATS that is connected, and keeps what is published."""

    is_connected = True

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[str] = []

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.replies.append(reply)


class Nats:
    """A transport over NATS, and the replies that come."""

    def __init__(self) -> None:
        self.transport, self.client = NatsTransport("nats://nowhere", name="test"), Published()
        self.transport._client, self.transport._inbox = self.client, "_INBOX.here"

    async def ask(self, *replies: bytes | None, accept: Accept | None = None) -> bytes:
        """Send a request, and receive these replies; None means that no client subscribes."""
        asking = asyncio.create_task(
            self.transport.request(nats_subjects.RESOLVE, b"?", timeout_s=0.05, accept=accept)
        )
        await asyncio.sleep(0)
        for data in replies:
            none: dict[str, str] = {Header.STATUS: NO_RESPONDERS_STATUS}
            headers = none if data is None else None
            message = Msg(self.client, self.client.replies[-1], "", data or b"", headers)
            await self.transport._receive(message)
        return await asking


async def test_over_nats_replies_that_are_not_accepted_are_ignored_even_refusals() -> None:
    nats = Nats()
    assert await nats.ask(None, b"", b"wrong", b"right", accept=b"right".__eq__) == b"right"
    with pytest.raises(UnreachableError) as failed:
        await nats.ask(None, b"", b"wrong", accept=b"right".__eq__)
    assert not isinstance(failed.value, AuthorityBusyError)  # so HTTP is tried
    assert not nats.transport._pending


async def test_over_nats_the_first_reply_counts_if_any_reply_is_accepted() -> None:
    nats = Nats()
    assert await nats.ask(b"first", b"second") == b"first"
    with pytest.raises(AuthorityBusyError):
        await nats.ask(b"", b"second")
    with pytest.raises(UnreachableError, match="no authority listens"):
        await nats.ask(None, b"second")


async def test_a_late_or_unsolicited_reply_is_ignored() -> None:
    nats = Nats()
    with pytest.raises(UnreachableError):
        await nats.ask()
    late = Msg(nats.client, nats.client.replies[-1], "", b"late", None)
    await nats.transport._receive(late)
    assert await nats.ask(b"in time") == b"in time"
