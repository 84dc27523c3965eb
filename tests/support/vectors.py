"""Test vectors for other languages: `python -m tests.support.vectors` writes tests/vectors/*.json.

A vector is a fact of the format, so it changes only if the format is extended.
"""

import dataclasses
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from nacl.signing import SigningKey
from tests.support import messages

from rescind.core import generation_table, handles, instance_mac, ledger, scopes, token_format
from rescind.core.generation_table import Writer
from rescind.core.handles import Selector
from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind.core.token_format import Kind
from rescind.wire import (
    enrolment,
    events,
    records,
    signed_envelope,
    socket_protocol,
    trust_statement,
)
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose

FOLDER = Path(__file__).parent.parent / "vectors"
SLOTS = generation_table.DEFAULT_SLOTS
HANDLES = (
    "*",
    "token:tok_01kdvdna00000g40r40m30e209",
    "tree:tok_01kdvdna00000g40r40m30e209",
    "subject:agent:bot/search",
    "chain:agent:bot",
    "kind:agent",
    "tenant:acme",
    "client:cli",
    "session:s-1",
    "label:team=é",
    "label:formula=a=b",
    "issuer:https://login.example.com",
    "subject:https://login.example.com#user-1",
    "jwt:https://login.example.com#id-1",
)
SELECTORS = (
    ("*",),
    ("*", "kind:admin"),
    ("tenant:acme", "label:team=é"),
    ("chain:agent:bot", "session:s-1", "tree:tok_01kdvdna00000g40r40m30e209"),
    ("label:b=1", "label:a=2"),
)


def token_vectors() -> object:
    """Return how a token is made of random bytes and an edge key, and which texts are refused."""
    good, malformed = [], {}
    for number, kind in enumerate(Kind):
        random = bytes((byte * (number + 1)) % 256 for byte in range(32))
        text = token_format.mint(kind=kind, random=random, edge_key=messages.EDGE_KEY).reveal()
        token = token_format.parse(text)
        good.append(
            {
                "kind": kind,
                "random": random.hex(),
                "tag": token.tag.hex(),
                "token": text,
                "sha256": token_format.digest(text).hex(),
                "possession": token_format.possession(text).hex(),
                "possession_sha256": token_format.possession_hash(text).hex(),
            }
        )
    text = messages.TOKEN
    digits = "z" * 54
    malformed = {
        "a character of the body differs": text[:20] + "1" + text[21:],
        "a character of the checksum differs": text[:-1] + "0",
        "one character is missing": text[:-1],
        "the kind is not known": text.replace("_agt_", "_abc_"),
        "the prefix is another": text.replace("rsc_", "abc_"),
        "a line break follows": text + "\n",
        "the body is 2^320 or more": f"rsc_agt_{digits}{token_format.checksum(digits)}",
    }
    return {
        "edge_key": messages.EDGE_KEY.hex(),
        "good": good,
        "malformed": malformed,
        "checksums": {"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ": "0mLq17"},
    }


def handle_vectors() -> object:
    """Return the word of the table for each handle, and the anchor of each selector."""
    return {
        "slots": SLOTS,
        "words": {handle: generation_table.slots_of([handle], SLOTS)[0] for handle in HANDLES},
        "anchors": [
            {"handles": chosen.handles, "anchor": chosen.anchor}
            for chosen in (handles.select(texts, exact=True) for texts in SELECTORS)
        ],
        "same_after_nfc": {"label:team=e\u0301": handles.parse("label:team=e\u0301")},
    }


def table_vectors() -> object:
    """Return the words of a table that are not zero: when new, after two events, with a lease."""
    slots = 1 << 10
    words = memoryview(bytearray(generation_table.size_bytes(slots))).cast("Q")
    writer = Writer(words, instance=messages.INSTANCE, boot=messages.BOOT, slots=slots)
    steps = {"new": _set_words(words)}
    writer.start_at(70_000)
    for seq, anchor in ((70_001, "chain:agent:bot"), (70_002, "*")):
        writer.bump(anchor, applied=seq)
        steps[f"event {seq} on {anchor}"] = _set_words(words)
    writer.extend(123_456_789_000)
    steps["lease until 123456789000"] = _set_words(words)
    writer.retire()
    steps["retired"] = _set_words(words)
    return {
        "slots": slots,
        "bytes": generation_table.size_bytes(slots),
        "instance": messages.INSTANCE.hex(),
        "boot": messages.BOOT.hex(),
        "deadline_words": {kind.value: word for kind, word in generation_table.DEADLINE.items()},
        "steps": steps,
    }


def _set_words(words: "memoryview[int]") -> dict[str, str]:
    # In hexadecimal: many parsers read a JSON number as a double, which loses a word's last bits.
    return {str(place): f"{word:016x}" for place, word in enumerate(words) if word}


def socket_vectors() -> object:
    """Return every request and response as its fields and as its frame."""
    kinds: dict[str, tuple[type, ...]] = {
        "requests": get_args(socket_protocol.Request),
        "responses": get_args(socket_protocol.Response),
    }
    return {
        name: [
            {
                "name": sample.name,
                "message": type(sample.message).__name__,
                "fields": _plain(asdict(sample.message)),  # type: ignore[call-overload]  # every message is a dataclass
                "frame": socket_protocol.frame(sample.encode(sample.message)).hex(),
            }
            for sample in messages.SAMPLES
            if isinstance(sample.message, kind)
        ]
        for name, kind in kinds.items()
    }


def event_vectors() -> object:
    """Return a ledger of four events: each as its fields, its payload, and the head after it."""
    start = position = ledger.genesis(3)
    revocation = messages.EVENT.revocation
    lifted = replace(revocation, effect="lift", scopes=(), issued_before_us=None)
    revoked = replace(lifted, effect="revoke", selector=Selector((handles.EVERYTHING,)))
    listed = []
    named = replace(lifted, revocation_id="rev_of_the_lift", lifts=revocation.revocation_id)
    for place, command in enumerate((revocation, lifted, revoked, named), start=1):
        event = Event(epoch=3, seq=place, at_us=messages.EVENT.at_us + place, revocation=command)
        payload = events.encode(event)
        position = position.after(payload)
        listed.append(
            {
                "fields": _plain(asdict(event)),
                "payload": payload.hex(),
                "head": position.head.hex(),
            }
        )
    return {"epoch": 3, "head_before": start.head.hex(), "events": listed}


def signature_vectors() -> object:
    """Return the signed bytes and envelope of each purpose, and a statement by a root key."""
    key, root = SigningKey(bytes(range(32))), SigningKey(bytes(range(32, 64)))
    public = bytes(key.verify_key)
    envelopes = [_signed(key, purpose, b"content") for purpose in Purpose]
    statement = trust_statement.Statement(
        serial=1,
        issued_at_us=messages.STATEMENT.issued_at_us,
        sealing=messages.STATEMENT.sealing,
        keys=tuple(
            trust_statement.VerifyingKey(purpose, public)
            for purpose in Purpose
            if purpose is not Purpose.TRUST
        ),
    )
    return {
        "algorithm": "Ed25519",
        "seed": bytes(key).hex(),
        "public": public.hex(),
        "key_id": trust_statement.key_id(public).hex(),
        "content": b"content".hex(),
        "signatures": envelopes,
        "root_public": bytes(root.verify_key).hex(),
        "statement": _signed(root, Purpose.TRUST, trust_statement.encode(statement)),
    }


def _signed(key: SigningKey, purpose: Purpose, content: bytes) -> dict[str, str]:
    covered = trust_statement.signed_bytes(purpose, content)
    signed = SignedEnvelope(
        content, trust_statement.key_id(bytes(key.verify_key)), key.sign(covered).signature
    )
    return {
        "purpose": purpose,
        "covers": covered.hex(),
        "signature": signed.signature.hex(),
        "envelope": signed_envelope.encode(signed).hex(),
    }


def record_vectors() -> object:
    """Return records of one token: the envelope of each, its fields, and the scopes that are left.

    The key is that of the signatures.
    """
    key = SigningKey(bytes(range(32)))
    token_hash = token_format.digest(messages.TOKEN)

    def sign(content: bytes) -> SignedEnvelope:
        public = bytes(key.verify_key)
        covered = trust_statement.signed_bytes(Purpose.RECORDS, content)
        return SignedEnvelope(content, trust_statement.key_id(public), key.sign(covered).signature)

    def vector(name: str, record: Record) -> dict[str, object]:
        fields = {
            each.name: getattr(record, each.name)
            for each in dataclasses.fields(record)
            if each.init
        }
        fields |= {"granted": sorted(record.granted), "audience": sorted(record.audience)}
        fields |= {"conditions": asdict(record.conditions)}
        fields |= {"restrictions": [asdict(each) for each in record.restrictions]}
        return {
            "name": name,
            "fields": _plain(fields),
            "scopes": sorted(record.scopes),
            "envelope": records.encode(record, sign).hex(),
        }

    samples = {
        "a record": messages.RECORD,
        "without optional facts": messages.BARE_RECORD,
        "narrowed": messages.NARROWED_RECORD,
        "conditioned": messages.CONDITIONED_RECORD,
        "ended": messages.ENDED_RECORD,
    }
    return {
        "token": messages.TOKEN,
        "records": [
            vector(name, replace(record, token_hash=token_hash)) for name, record in samples.items()
        ],
    }


def scope_vectors() -> object:
    """Return which scopes are valid, what covers what, and what narrowings leave of a grant."""
    patterns = ("tools:*", "tools:call", "tools:call/*", "tools:", "tools", "Tools:call", "*")
    return {
        "valid": [scopes.parse(each) for each in (*patterns, "a", "~!", "x" * 128)],
        "invalid": ["", "a b", 'a"', "a\\", "é", "a\n", "a*", "*a", "a:*:b", "a**", "x" * 129],
        "covers": [
            {"pattern": pattern, "scope": scope, "covers": scopes.covers([pattern], scope)}
            for pattern in patterns
            for scope in patterns
        ],
        "remaining": [
            {
                "granted": granted,
                "removed": removed,
                "remaining": sorted(scopes.remaining(granted, removed)),
            }
            for granted, removed in (
                (["files:read", "tools:*", "tools:call"], ["tools:call/x", "web:*"]),
                (["tools:call/x"], ["tools:*"]),
                (["*"], ["tools:call"]),
                (["tools:call"], ["tools"]),
            )
        ],
    }


def mac_vectors() -> object:
    """Return an instance's id and secret, and the MAC of a message in each direction."""
    master, instance = bytes(range(32)), enrolment.instance_of(messages.PUBLIC)
    secret = instance_mac.instance_secret(master, epoch=3, instance=instance)
    return {
        "public": messages.PUBLIC.hex(),
        "instance": instance.hex(),
        "master": master.hex(),
        "epoch": 3,
        "secret": secret.hex(),
        "content": b"content".hex(),
        "macs": {
            direction.decode(): instance_mac.tag(secret, direction, b"content").hex()
            for direction in (instance_mac.TO_AUTHORITY, instance_mac.TO_SIDECAR)
        },
        "nonce": messages.NONCE.hex(),
        "value": messages.PUBLIC.hex(),
        "veiled": instance_mac.mask(secret, messages.NONCE, messages.PUBLIC).hex(),
    }


def _plain(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value


def vectors() -> dict[str, str]:
    """Return every file's name and text."""
    made = {
        "tokens.json": token_vectors(),
        "handles.json": handle_vectors(),
        "table.json": table_vectors(),
        "socket.json": socket_vectors(),
        "events.json": event_vectors(),
        "signatures.json": signature_vectors(),
        "macs.json": mac_vectors(),
        "records.json": record_vectors(),
        "scopes.json": scope_vectors(),
    }
    return {
        name: json.dumps(content, indent=2, ensure_ascii=True) + "\n"
        for name, content in made.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in vectors().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
