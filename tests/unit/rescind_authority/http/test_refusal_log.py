"""Refused calls are in the log and in the audit, and no flood of them fills either."""

from collections.abc import Collection, MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from fastapi import Request
from structlog.testing import capture_logs
from tests.support.clocks import ManualClock
from tests.support.messages import BARE_RECORD

from rescind.core.verdict import Reason
from rescind.errors import RescindError
from rescind_authority.errors import (
    BeyondParentError,
    FieldError,
    ForbiddenError,
    NotASessionError,
    NotFoundError,
    SelfServiceError,
    StoreUnavailableError,
    UnauthenticatedError,
)
from rescind_authority.http import refusal_log as refusals
from rescind_authority.http.refusal_log import RefusalLog
from rescind_authority.ports.audit import RefusedCall
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.access.authoriser import not_accepted
from rescind_authority.usecases.access.refusal_audit import CAPACITY, RefusalAudit

UNKNOWN = UnauthenticatedError("the admin token is not accepted: unknown.")
RECORD = replace(BARE_RECORD, subject="admin:a", token_id="tok_1")
MINUTE_NS = 60 * 10**9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the time, in nanoseconds, for a test to move."""
    now = [0]
    monkeypatch.setattr(refusals, "monotonic_raw_ns", lambda: now[0])
    return now


def request(address: str | None, **state: object) -> Request:
    client = None if address is None else (address, 9)
    return Request(
        {"type": "http", "method": "GET", "headers": [], "client": client, "state": state}
    )


class Kept:
    """An audit that may be away."""

    def __init__(self) -> None:
        self.rows: list[RefusedCall] = []
        self.away = False

    async def refused(self, refusals: Collection[RefusedCall]) -> None:
        if self.away:
            raise StoreUnavailableError("the test took it away")
        self.rows += refusals


class Log:
    """Refused calls, as they are logged and as they are handed to the audit."""

    def __init__(self) -> None:
        self.audited: list[RefusedCall] = []
        self.refusals = RefusalLog(self.audited.append)

    def note(
        self,
        address: str | None = "192.0.2.1",
        error: RescindError = UNKNOWN,
        status: int = 401,
        **state: object,
    ) -> list[MutableMapping[str, Any]]:
        with capture_logs() as lines:
            self.refusals.log_refusal(request(address, **state), error, status)
        return lines


def test_each_source_is_logged_once_a_minute_with_the_number_of_withheld_lines(
    clock: list[int],
) -> None:
    log = Log()
    (line,) = log.note()
    assert (line["action"], line["address"], line["status"]) == ("caller.refused", "192.0.2.1", 401)
    assert line["why"] == str(UNKNOWN)
    assert [log.note() for _ in range(5)] == [[]] * 5
    assert [each["address"] for each in log.note("192.0.2.2")] == ["192.0.2.2"]
    clock[0] += MINUTE_NS
    assert [each["withheld"] for each in log.note()] == [5]
    assert [(each.source, each.withheld) for each in log.audited] == [
        ("192.0.2.1", 0),
        ("192.0.2.2", 0),
        ("192.0.2.1", 5),
    ]


@pytest.mark.parametrize(
    ("error", "state", "actor"),
    [
        (UNKNOWN, {}, None),
        (UNKNOWN, {"caller": "admin:made-up tok_9"}, None),
        (not_accepted(Reason.REVOKED, "admin token", RECORD), {}, "admin:a tok_1"),
        (ForbiddenError("rescind:read", "this call"), {"caller": "admin:a tok_1"}, "admin:a tok_1"),
        (SelfServiceError("no."), {"caller": "user:1 tok_2"}, "user:1 tok_2"),
        (NotASessionError("agent"), {"caller": "agent:a tok_3"}, "agent:a tok_3"),
        (BeyondParentError(FieldError("ttl", "less")), {"caller": "agent:a t"}, "agent:a t"),
    ],
)
def test_the_actor_of_a_refused_call_is_logged_if_its_token_names_one(
    clock: list[int], error: RescindError, state: dict[str, Any], actor: str | None
) -> None:
    log = Log()
    status = 401 if isinstance(error, UnauthenticatedError) else 403
    (line,) = log.note(error=error, status=status, **state)
    (kept,) = log.audited
    assert (kept.actor, kept.status, kept.why) == (actor, status, str(error))
    assert (line["status"], line["token_id"]) == (status, actor and actor.split()[-1])


def test_no_other_answer_counts_as_a_refusal(clock: list[int]) -> None:
    log = Log()
    for status in (400, 404, 409, 422, 429, 500, 503):
        assert log.note(error=NotFoundError("token", "tok_2"), status=status) == []
    assert log.audited == []


def test_no_token_gets_into_log_or_audit(clock: list[int]) -> None:
    log = Log()
    secret = "rsc_agt_" + "0" * 54 + "1r2jvK"
    (line,) = log.note(error=UnauthenticatedError(f"what is {secret}?"))
    assert secret not in f"{line}{log.audited}"


def test_one_network_is_one_source_and_unknown_addresses_are_one_too(clock: list[int]) -> None:
    log = Log()
    assert len(log.note("2001:db8:0:1::1")) == 1
    assert log.note("2001:db8:0:1::2") == []
    assert len(log.note("2001:db8:0:2::1")) == 1
    assert len(log.note(None)) == 1
    assert log.note(None) == []


def test_the_number_of_remembered_sources_is_bounded(
    clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_MAX_SOURCES", 10)
    log = Log()
    for number in range(100):
        assert len(log.note(f"192.0.2.{number}")) == 1
    assert len(log.refusals._throttle) == 10


REFUSAL = RefusedCall(None, "GET /v1/fleet", 401, "unknown", "192.0.2.1", 0)


async def test_a_flood_from_many_sources_writes_a_bounded_number_of_entries() -> None:
    kept, clock, metrics = Kept(), ManualClock(now_ns=0), PrometheusMetrics()
    audit = RefusalAudit(kept, clock=clock, metrics=metrics)
    for _ in range(5 * CAPACITY):
        audit.queue(REFUSAL)
    await audit.write()
    assert len(kept.rows) == CAPACITY
    clock.now_ns += 60 * 10**9
    for _ in range(CAPACITY):
        audit.queue(REFUSAL)
    await audit.write()
    assert len(kept.rows) == CAPACITY + 60
    lost = b"rescind_authority_refusals_not_audited_total %.1f" % (5 * CAPACITY - 60)
    assert lost in metrics.render()


async def test_while_postgres_is_away_entries_wait_within_the_bound() -> None:
    kept, clock = Kept(), ManualClock(now_ns=0)
    audit = RefusalAudit(kept, clock=clock, metrics=PrometheusMetrics())
    kept.away = True
    for second in range(3 * CAPACITY):
        clock.now_ns = second * 10**9
        audit.queue(REFUSAL)
        await audit.write()
    assert (len(audit), kept.rows) == (CAPACITY, [])
    kept.away = False
    await audit.write()
    assert (len(audit), len(kept.rows)) == (0, CAPACITY)
