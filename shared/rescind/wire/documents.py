"""JSON that more than one part of rescind writes, so that its keys are the same everywhere."""

from rescind.core.record import Record

_US_PER_S = 1_000_000


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
