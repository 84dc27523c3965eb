"""One sample of every message on the wire, with its codec. Tests pin, shorten and garble these."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rescind.core.conditions import Conditions
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.receipt import (
    EnforcingVerifier,
    Outcome,
    Receipt,
    ServiceTotals,
    Summary,
    VerifierInGrace,
)
from rescind.core.record import Record
from rescind.core.revocation import Event, Restriction, Revocation
from rescind.core.secret import Secret
from rescind.core.token_format import Kind, TokenHash
from rescind.core.verdict import Reason
from rescind.wire import (
    enrolment,
    events,
    heartbeat,
    lookups,
    receipts,
    records,
    recovery_offer,
    signed_envelope,
    socket_protocol,
    trust_statement,
    usage_report,
)
from rescind.wire.codec import Payload

# Minted from bytes(range(32)) with EDGE_KEY.
TOKEN = "rsc_agt_001GsBaniMdfHPrKhhwjnlS86reYjdQ5ckAqLoTS4ckok0FA7OvgX31DQnGk"
EDGE_KEY = bytes(range(100, 132))

INSTANCE = bytes(range(16))
NONCE = bytes(range(16, 32))
BOOT = bytes(range(32, 48))
HEAD = bytes(range(64, 96))
NEXT_HEAD = bytes(range(96, 128))
TOKEN_HASH = bytes(range(128, 160))
POSITION = Position(epoch=3, seq=70_000, head=HEAD)

EVENT = Event(
    epoch=3,
    seq=70_001,
    at_us=1_767_225_600_000_000,
    revocation=Revocation(
        revocation_id="rev_01kdvdsdg0000g40r40m30e209",
        selector=Selector((Handle("chain:agent:bot"), Handle("label:team=é"))),
        effect="narrow",
        reason="left the company",
        actor="admin:ada",
        issued_before_us=1_767_225_500_000_000,
        until_us=None,
        scopes=("tools:call", "files:read"),
    ),
)
BARE_EVENT = Event(
    epoch=1,
    seq=1,
    at_us=0,
    revocation=Revocation(
        revocation_id="rev_1",
        selector=Selector((Handle("*"),)),
        effect="revoke",
        reason="",
        actor="",
    ),
)
LIFT_EVENT = Event(
    epoch=3,
    seq=70_002,
    at_us=1_767_225_600_000_001,
    revocation=Revocation(
        revocation_id="rev_01kdvdsdg0000g40r40m30e20a",
        selector=EVENT.revocation.selector,
        effect="lift",
        reason="it came back",
        actor="admin:ada",
        issued_before_us=1_767_225_500_000_000,
        lifts="rev_01kdvdsdg0000g40r40m30e209",
    ),
)
RECORD = Record(
    token_hash=TOKEN_HASH,
    epoch=3,
    as_of=70_000,
    token_id="tok_01kdvdsdg0000g40r40m30e209",
    kind=Kind.AGENT,
    subject="agent:bot/search",
    granted=frozenset({"tools:call", "files:read"}),
    audience=frozenset({"search", "billing"}),
    issued_at_us=1_767_225_500_000_000,
    issued_seq=69_999,
    not_before_us=1_767_225_500_000_000,
    expires_at_us=1_767_229_100_000_000,
    handles=(
        Handle("*"),
        Handle("chain:agent:bot"),
        Handle("kind:agent"),
        Handle("token:tok_01kdvdsdg0000g40r40m30e209"),
    ),
    restrictions=(Restriction("rev_1", "narrow", 12),),
    tenant="acme",
    client="cli",
    session="s-1",
    labels=(("team", "é"),),
    lineage=("tok_01kdvdsdg0000000000000000a",),
    chain=("agent:bot",),
)
CONDITIONED_RECORD = replace(
    RECORD,
    conditions=Conditions(("10.0.0.0/8", "2001:db8::/32"), (("region", "eu"), ("tier", "prod"))),
)
ENDED_RECORD = replace(
    RECORD,
    restrictions=(
        Restriction("rev_2", "ended", 69_999),
        Restriction("rev_1", "narrow", 12),
        Restriction("", "ended", 0),
    ),
)
NARROWED_RECORD = replace(RECORD, removed=("files:*", "tools:call:github/*"))
BARE_RECORD = Record(
    token_hash=TOKEN_HASH,
    epoch=1,
    as_of=0,
    token_id="tok_1",
    kind=Kind.SERVICE,
    subject="service:a",
    granted=frozenset(),
    audience=frozenset(),
    issued_at_us=0,
    issued_seq=0,
    not_before_us=0,
    expires_at_us=1,
    handles=(Handle("*"),),
)
HEARTBEAT = heartbeat.Heartbeat(
    instance=INSTANCE,
    nonce=NONCE,
    counter=7,
    applied=POSITION,
    service="checkout",
    host="node-1",
    version="0.1.0",
    posture="strict",
)
FIRST_HEARTBEAT = heartbeat.Heartbeat(
    instance=INSTANCE,
    nonce=NONCE,
    counter=0,
    applied=None,
    service="checkout",
    host="node-1",
    version="0.1.0",
    posture="strict",
)

PUBLIC = bytes(range(48, 80))
STATEMENT = trust_statement.Statement(
    serial=2,
    issued_at_us=1_767_225_600_000_000,
    sealing=bytes(range(80, 112)),
    keys=(
        trust_statement.VerifyingKey(trust_statement.Purpose.EVENTS, PUBLIC),
        trust_statement.VerifyingKey(trust_statement.Purpose.RECORDS, bytes(range(112, 144))),
    ),
)


RECEIPT = Receipt(
    revocation_id="rev_01kdvdsdg0000g40r40m30e209",
    epoch=3,
    seq=70_001,
    committed_at_us=1_767_225_600_000_000,
    enforced_at_us=1_767_225_600_004_000,
    verifiers=(EnforcingVerifier(INSTANCE, "search", Outcome.ACKNOWLEDGED, 3_900),),
    grace=(VerifierInGrace(NONCE, "billing", 1_767_225_660_000_000),),
)
UNKNOWN_GRACE_UNTIL_US = 1_767_226_230_000_000
TELLING_RECEIPT = replace(RECEIPT, payloads=(events.encode(EVENT), events.encode(BARE_EVENT)))
SUMMARY_RECEIPT = replace(
    TELLING_RECEIPT,
    summary=Summary(
        acknowledged=99_000,
        released=900,
        lapsed=100,
        grace=1,
        grace_until_us=1_767_225_660_000_000,
        services=(
            ServiceTotals("search", 99_000, 900, 100, 0, 3_900),
            ServiceTotals("billing", 0, 0, 0, 1, 0),
        ),
        services_left=0,
        hashes=(HEAD, NEXT_HEAD),
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A message, and its encoder and decoder. Frames come without their length."""

    name: str
    message: object
    encode: Callable[[Any], bytes]
    decode: Callable[[Payload], object]


def _request(message: socket_protocol.Request) -> bytes:
    return unframed(socket_protocol.encode_request(message))


def _response(message: socket_protocol.Response) -> bytes:
    return unframed(socket_protocol.encode_response(message))


@dataclass(frozen=True, slots=True)
class ShownCredential:
    """A credential as text: a Secret is equal to itself alone."""

    token: str
    service: str
    instance: bytes
    nonce: bytes
    posture: str | None = None


def _credential(shown: ShownCredential) -> bytes:
    token = Secret(shown.token)
    return enrolment.encode_credential(
        enrolment.Credential(token, shown.service, shown.instance, shown.nonce, shown.posture)
    )


def _shown(payload: Payload) -> ShownCredential:
    credential = enrolment.decode_credential(payload)
    return ShownCredential(
        credential.token.reveal(),
        credential.service,
        credential.instance,
        credential.nonce,
        credential.posture,
    )


def unframed(frame: bytes) -> bytes:
    """Return the one message in a frame, without its length."""
    (message,) = socket_protocol.Frames().feed(frame)
    return message


def unsigned_batch(batch: events.Batch) -> bytes:
    return events.encode_batch(batch, signed_envelope.unsigned)


def unsigned_record(record: Record) -> bytes:
    return records.encode(record, signed_envelope.unsigned)


SAMPLES = (
    Sample("event", EVENT, events.encode, events.decode),
    Sample("event, bare", BARE_EVENT, events.encode, events.decode),
    Sample("event, lift", LIFT_EVENT, events.encode, events.decode),
    Sample(
        "batch",
        events.Batch(
            epoch=3,
            first_seq=70_001,
            before=HEAD,
            after=NEXT_HEAD,
            awaited=True,
            payloads=(b"one", b"two"),
        ),
        unsigned_batch,
        events.decode_batch,
    ),
    Sample(
        "sealed",
        signed_envelope.SignedEnvelope(b"content", b"key", b"signed"),
        signed_envelope.encode,
        signed_envelope.decode,
    ),
    Sample("record", RECORD, unsigned_record, records.decode),
    Sample("record, bare", BARE_RECORD, unsigned_record, records.decode),
    Sample("record, narrowed", NARROWED_RECORD, unsigned_record, records.decode),
    Sample("record, conditioned", CONDITIONED_RECORD, unsigned_record, records.decode),
    Sample("record, ended", ENDED_RECORD, unsigned_record, records.decode),
    Sample(
        "resolve", lookups.LookupRequest(TOKEN_HASH), lookups.encode_request, lookups.decode_request
    ),
    Sample(
        "resolved",
        lookups.LookupAnswer(epoch=3, as_of=70_000, record=b"record"),
        lookups.encode_answer,
        lookups.decode_answer,
    ),
    Sample(
        "resolved, unknown",
        lookups.LookupAnswer(epoch=3, as_of=70_000, record=None),
        lookups.encode_answer,
        lookups.decode_answer,
    ),
    Sample(
        "resolve, presented",
        lookups.LookupRequest(
            TOKEN_HASH, NONCE, lookups.PossessionProof(70_000, 1_767_225_600_000_000, PUBLIC)
        ),
        lookups.encode_request,
        lookups.decode_request,
    ),
    Sample(
        "resolve, of a hash alone",
        lookups.LookupRequest(TOKEN_HASH, NONCE),
        lookups.encode_request,
        lookups.decode_request,
    ),
    Sample(
        "resolved, to a nonce",
        lookups.LookupAnswer(3, 70_000, b"record", NONCE, TOKEN_HASH),
        lookups.encode_answer,
        lookups.decode_reply,
    ),
    Sample(
        "resolved, unknown, to a nonce",
        lookups.LookupAnswer(3, 70_000, None, NONCE, TOKEN_HASH),
        lookups.encode_answer,
        lookups.decode_answer,
    ),
    Sample(
        "resolved, not now",
        lookups.LookupUnavailable(NONCE, TOKEN_HASH),
        lookups.encode_unavailable,
        lookups.decode_reply,
    ),
    Sample("heartbeat", HEARTBEAT, heartbeat.encode, heartbeat.decode),
    Sample("heartbeat, first", FIRST_HEARTBEAT, heartbeat.encode, heartbeat.decode),
    Sample("release", heartbeat.Release(INSTANCE, counter=8), heartbeat.encode, heartbeat.decode),
    Sample(
        "heartbeat, trailing",
        replace(HEARTBEAT, trail=(NONCE, INSTANCE)),
        heartbeat.encode,
        heartbeat.decode,
    ),
    Sample(
        "heartbeat, first, trailing",
        replace(FIRST_HEARTBEAT, trail=()),
        heartbeat.encode,
        heartbeat.decode,
    ),
    Sample(
        "release, trailing",
        heartbeat.Release(INSTANCE, counter=8, trail=(NONCE,)),
        heartbeat.encode,
        heartbeat.decode,
    ),
    Sample(
        "no lease",
        heartbeat.NoLease(INSTANCE, NONCE, counter=70_000, over=True),
        heartbeat.encode_no_lease,
        heartbeat.decode_answer,
    ),
    Sample(
        "ack, trailing",
        heartbeat.Ack(INSTANCE, counter=9, applied=POSITION, trail=(NONCE,)),
        heartbeat.encode_ack,
        heartbeat.decode_ack,
    ),
    Sample(
        "reply",
        heartbeat.Reply(
            instance=INSTANCE,
            nonce=NONCE,
            position=POSITION,
            grant_term_ms=10_000,
            authority_us=1_767_225_600_000_000,
            payloads=(b"one",),
            trust_serial=2,
        ),
        heartbeat.encode_reply,
        heartbeat.decode_reply,
    ),
    Sample(
        "ack",
        heartbeat.Ack(INSTANCE, counter=9, applied=POSITION),
        heartbeat.encode_ack,
        heartbeat.decode_ack,
    ),
    Sample(
        "wanted",
        heartbeat.AckRequest(3, 70_001),
        heartbeat.encode_ack_request,
        heartbeat.decode_ack_request,
    ),
    Sample("since", heartbeat.Since(3, 70_000), heartbeat.encode_since, heartbeat.decode_since),
    Sample(
        "events",
        heartbeat.Events(3, (b"one", b"two")),
        heartbeat.encode_events,
        heartbeat.decode_events,
    ),
    Sample("trust statement", STATEMENT, trust_statement.encode, trust_statement.decode),
    Sample(
        "trust statement, bare",
        trust_statement.Statement(1, 0, PUBLIC, ()),
        trust_statement.encode,
        trust_statement.decode,
    ),
    Sample(
        "trust statement, ending",
        replace(
            STATEMENT,
            not_after_us=1_769_817_600_000_000,
            retired=(trust_statement.RetiredKey("master", PUBLIC[: trust_statement.KEY_ID_BYTES]),),
        ),
        trust_statement.encode,
        trust_statement.decode,
    ),
    Sample(
        "trust statement, endless, of retired keys",
        replace(STATEMENT, retired=(trust_statement.RetiredKey("records", bytes(8)),)),
        trust_statement.encode,
        trust_statement.decode,
    ),
    Sample(
        "link between root keys",
        trust_statement.RootLink(PUBLIC, 1_767_225_600_000_000),
        trust_statement.encode_link,
        trust_statement.decode_link,
    ),
    Sample(
        "signed trust statement, of links",
        (signed_envelope.SignedEnvelope(b"content", bytes(8), bytes(64)), (b"link", b"another")),
        lambda envelope: trust_statement.encode_envelope(*envelope),
        trust_statement.decode_envelope,
    ),
    Sample(
        "heartbeat, telling its statement",
        replace(FIRST_HEARTBEAT, trail=(NONCE,), trust_serial=3),
        heartbeat.encode,
        heartbeat.decode,
    ),
    Sample(
        "heartbeat, telling its statement alone",
        replace(FIRST_HEARTBEAT, trust_serial=0),
        heartbeat.encode,
        heartbeat.decode,
    ),
    Sample(
        "reply, with a statement",
        heartbeat.Reply(
            instance=INSTANCE,
            nonce=NONCE,
            position=POSITION,
            grant_term_ms=10_000,
            authority_us=1_767_225_600_000_000,
            payloads=(),
            trust_serial=3,
            statement=b"statement",
            enrol_again=True,
        ),
        heartbeat.encode_reply,
        heartbeat.decode_reply,
    ),
    Sample(
        "enrolment, refused with a statement",
        enrolment.EnrolmentRefused(NONCE, "no", b"statement"),
        enrolment.encode_answer,
        enrolment.decode_answer,
    ),
    Sample(
        "enrolment",
        enrolment.EnrolmentRequest(PUBLIC, NONCE, b"box"),
        enrolment.encode_request,
        enrolment.decode_request,
    ),
    Sample(
        "credential",
        ShownCredential("rsc_svc_x", "checkout", INSTANCE, NONCE),
        _credential,
        _shown,
    ),
    Sample(
        "credential, of a posture",
        ShownCredential("rsc_svc_x", "checkout", INSTANCE, NONCE, "strict"),
        _credential,
        _shown,
    ),
    Sample(
        "enrolment, granted",
        enrolment.Granted(
            nonce=NONCE, instance=INSTANCE, epoch=3, statement=b"statement", box=b"box"
        ),
        enrolment.encode_answer,
        enrolment.decode_answer,
    ),
    Sample(
        "enrolment, refused",
        enrolment.EnrolmentRefused(NONCE, "the credential is not known here"),
        enrolment.encode_answer,
        enrolment.decode_answer,
    ),
    Sample(
        "belongings",
        enrolment.InstanceSecrets(TOKEN_HASH, (EDGE_KEY, HEAD)),
        enrolment.encode_instance_secrets,
        enrolment.decode_instance_secrets,
    ),
    Sample(
        "used, at a time",
        usage_report.Used(INSTANCE, (RECORD.token_id, "tok_1"), 1_767_225_600_000_000),
        usage_report.encode,
        usage_report.decode,
    ),
    Sample(
        "used",
        usage_report.Used(INSTANCE, (RECORD.token_id, "tok_1")),
        usage_report.encode,
        usage_report.decode,
    ),
    Sample(
        "offer",
        recovery_offer.Offer(INSTANCE, b"batch"),
        recovery_offer.encode,
        recovery_offer.decode,
    ),
    Sample(
        "offer, taken",
        recovery_offer.OfferAnswer(wanted=True),
        recovery_offer.encode_offer_answer,
        recovery_offer.decode_offer_answer,
    ),
    Sample("receipt", RECEIPT, receipts.encode, receipts.decode),
    Sample("receipt, telling", TELLING_RECEIPT, receipts.encode, receipts.decode),
    Sample(
        "receipt, unknown grace",
        replace(RECEIPT, unknown_grace_until_us=UNKNOWN_GRACE_UNTIL_US),
        receipts.encode,
        receipts.decode,
    ),
    Sample(
        "receipt, telling, unknown grace",
        replace(TELLING_RECEIPT, unknown_grace_until_us=UNKNOWN_GRACE_UNTIL_US),
        receipts.encode,
        receipts.decode,
    ),
    Sample("receipt, hit", replace(TELLING_RECEIPT, hit=3), receipts.encode, receipts.decode),
    Sample("receipt, summary", SUMMARY_RECEIPT, receipts.encode, receipts.decode),
    Sample(
        "receipt, unknown grace, summary",
        replace(SUMMARY_RECEIPT, unknown_grace_until_us=UNKNOWN_GRACE_UNTIL_US),
        receipts.encode,
        receipts.decode,
    ),
    Sample("clock", socket_protocol.Clock(1), _request, socket_protocol.decode_request),
    Sample("look", socket_protocol.Look(2, "rsc_agt_x"), _request, socket_protocol.decode_request),
    Sample(
        "look, demanding",
        socket_protocol.Look(2, "rsc_agt_x", 70_000),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "look, by hash",
        socket_protocol.Look(2, TokenHash(TOKEN_HASH), 70_000),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "check, by hash",
        socket_protocol.Check(3, TokenHash(TOKEN_HASH), ("tools:call",), None, 0, "192.0.2.7"),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "check",
        socket_protocol.Check(3, "rsc_agt_x", ("tools:call",), "search"),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "check, own audience",
        socket_protocol.Check(4, "rsc_agt_x", (), None),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "check, demanding",
        socket_protocol.Check(5, "rsc_agt_x", (), None, 70_000),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "check, from an address",
        socket_protocol.Check(6, "rsc_agt_x", (), None, 0, "192.0.2.7"),
        _request,
        socket_protocol.decode_request,
    ),
    Sample(
        "greeting, labelled",
        socket_protocol.Greeting("checkout", INSTANCE, BOOT, "strict", (("region", "eu"),)),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "greeting",
        socket_protocol.Greeting("checkout", INSTANCE, BOOT, "strict"),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "now",
        socket_protocol.Now(1, 123_456_789_000, 9_000),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "now, refused",
        socket_protocol.Now(1, 123_456_789_000, 0, "the credential was revoked"),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "entry",
        socket_protocol.Entry(
            request=2,
            instance=INSTANCE,
            record=b"record",
            slots=(512, 70_000),
            stamps=(0, 3),
            generation=5,
            not_before_ns=0,
            until_ns=1 << 40,
        ),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "refused",
        socket_protocol.Refused(2, INSTANCE, Reason.REVOKED),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "verdict, allowed",
        socket_protocol.Verdict(3, INSTANCE, None, b"record", 70_000, 1_200),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "verdict, with the token's own times",
        socket_protocol.Verdict(3, INSTANCE, None, b"record", 70_000, 1_200, 3_600_000),
        _response,
        socket_protocol.decode_response,
    ),
    Sample(
        "verdict, denied",
        socket_protocol.Verdict(3, INSTANCE, Reason.NO_LEASE, None, 0, 0),
        _response,
        socket_protocol.decode_response,
    ),
    Sample("watch", socket_protocol.Watch(6), _request, socket_protocol.decode_request),
    Sample(
        "changed", socket_protocol.Changed(6, 70_000), _response, socket_protocol.decode_response
    ),
)
