"""JSON that more than one part of rescind writes, so that its keys are the same everywhere."""

from datetime import UTC, datetime, timedelta

from rescind.core.receipt import Receipt
from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind.wire import events

_US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(unix_us: int | None) -> str | None:
    """Write Unix microseconds as RFC 3339, in UTC."""
    if unix_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=unix_us)).isoformat().replace("+00:00", "Z")


def of_event(event: Event) -> dict[str, object]:
    """Write an event as `GET /v1/events` and receipts do."""
    revocation = event.revocation
    return {
        "epoch": event.epoch,
        "seq": event.seq,
        "at": moment(event.at_us),
        "id": revocation.revocation_id,
        "effect": revocation.effect,
        "selector": list(revocation.selector.handles),
        "scopes": list(revocation.scopes),
        "issued_before": moment(revocation.issued_before_us),
        "until": moment(revocation.until_us),
        "lifts": revocation.lifts,
        "reason": revocation.reason,
        "actor": revocation.actor,
    }


def of_receipt(receipt: Receipt) -> dict[str, object]:
    """Write what a receipt says, as the API and `rescind receipt` do.

    Raises MalformedMessageError for one whose events cannot be read.
    """
    return {
        "revocation_id": receipt.revocation_id,
        "epoch": receipt.epoch,
        "seq": receipt.seq,
        "events": [of_event(events.decode(payload)) for payload in receipt.payloads],
        "committed_at": moment(receipt.committed_at_us),
        "enforced_at": moment(receipt.enforced_at_us),
        "verifiers": [
            {
                "instance": each.instance.hex(),
                "service": each.service,
                "outcome": each.outcome.value,
                "latency_ms": each.latency_us / 1000,
            }
            for each in receipt.verifiers
        ],
        "grace": [
            {
                "instance": each.instance.hex(),
                "service": each.service,
                "until": moment(each.until_us),
            }
            for each in receipt.grace
        ],
        "unknown_grace_until": moment(receipt.unknown_grace_until_us),
    }


def of_record(record: Record) -> dict[str, object]:
    """Write a record as `POST /v1/check` and `rescind check --json` do. Times are Unix seconds."""
    return {
        "token_id": record.token_id,
        "kind": record.kind,
        "subject": record.subject,
        "scopes": sorted(record.scopes),
        "audience": sorted(record.audience),
        "tenant": record.tenant,
        "client": record.client,
        "session": record.session,
        "labels": dict(record.labels),
        "lineage": list(record.lineage),
        "chain": list(record.chain),
        "issued_at": record.issued_at_us / _US_PER_S,
        "expires_at": record.expires_at,
    }
