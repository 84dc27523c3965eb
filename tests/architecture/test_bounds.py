"""`reference/bounds.md` is true: each figure is the code's, and each row names tests that exist."""

import re
from pathlib import Path

import pytest

from rescind.client import verifier
from rescind.client.holds import monitor
from rescind.core import receipt, record, scopes
from rescind.core.delegation import MAX_OWN_OVERLAP_US
from rescind.core.scopes import MAX_REPORTED_BYTES
from rescind.wire import codec, heartbeat, receipt_details
from rescind.wire import trust_statement as wire_trust
from rescind_authority import ledger_index
from rescind_authority.http import refusal_log, sidecar_routes
from rescind_authority.http.admission import gate, middleware
from rescind_authority.http.revocations import receipts as receipts_api
from rescind_authority.nats import publisher, sidecar_requests
from rescind_authority.postgres.integrity import ledger_watch, row_rewriter
from rescind_authority.redis import record_cache as shared_records
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases import validation
from rescind_authority.usecases.access import authoriser, change_budgets, refusal_audit
from rescind_authority.usecases.enforcement import row_read_times
from rescind_authority.usecases.integrity import refused_rows
from rescind_authority.usecases.leases import enrol, grant, membership
from rescind_authority.usecases.ledger import idempotency, recent_events, sequencer
from rescind_authority.usecases.lookups import resolver
from rescind_authority.usecases.read_model import revoked_marks, token_search
from rescind_authority.usecases.revocations import hit_counts, preview
from rescind_authority.usecases.tokens import end_timer, last_used, rotate_and_expire
from rescind_cli.output import receipt_progress
from rescind_runtime.crypto import trust
from rescind_runtime.net import connection_limits, http_server, nats_connection
from rescind_runtime.net.connection_limits import Limits
from rescind_sidecar.data_plane import record_headers
from rescind_sidecar.grpc import server as grpc_server
from rescind_sidecar.http import http1_connection
from rescind_sidecar.redis import record_cache as redis_records
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.socket import server
from rescind_sidecar.usecases import instance
from rescind_sidecar.usecases.ledger import change_notifier, recovery_offers
from rescind_sidecar.usecases.lookup import fetch, lookup_budgets, usage_reports
from rescind_sidecar.view import negative_cache, record_cache, ring

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "bounds.md"
LIMITS = Limits()


def setting(cls: type, name: str) -> int:
    """Return the default of a setting."""
    return int(cls.model_fields[name].default)  # type: ignore[attr-defined]


def number(value: float) -> str:
    return f"{value:,.0f}"


def size(count: int) -> str:
    """Write a number of bytes as the page does."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{number(count)} bytes"


def seconds(count: float) -> str:
    return f"{count:g} s"


# What the second column of each row says, in this order; `None` is a row without a figure of ours.
FIGURES: dict[str, tuple[str, ...]] = {
    "records": (
        number(setting(SidecarSettings, "records")),
        f"{record_cache.BYTES_EACH / 1000:g} KB",
        f"{record_cache.CAPACITY * record_cache.BYTES_EACH / 1e6:g} MB",
    ),
    "ring of events": (number(ring.CAPACITY), "30 MB", "200 MB"),
    "unknown tokens": (number(negative_cache.CAPACITY), "a second"),
    "look-ups under way": (
        number(fetch._MAX_FLIGHTS),
        number(lookup_budgets.LookupLimits.of(2_000).concurrent),
    ),
    "cold look-ups of a source": (number(setting(SidecarSettings, "first_sights_per_s")), "twice"),
    "known sources": (number(lookup_budgets._MAX_SOURCES),),
    "look-ups that wait for Redis": (number(redis_records._CAPACITY),),
    "connections": (number(server._MAX_CONNECTIONS), number(server._MAX_PER_SOURCE)),
    "requests of a connection": (
        size(server._MAX_REQUEST_BYTES),
        number(server._MAX_IN_FLIGHT),
        number(server._MAX_PER_TURN),
    ),
    "HTTP connections of a worker": (
        number(http1_connection._MAX_CONNECTIONS),
        number(http1_connection._MAX_PER_PEER),
    ),
    "head of an HTTP request": (size(http1_connection._HEAD_BYTES),),
    "removed patterns": (size(MAX_REPORTED_BYTES).replace("2 KiB", "2,048 bytes"),),
    "calls of a gRPC worker": (
        number(grpc_server.MAX_CONCURRENT),
        size(grpc_server.MAX_REQUEST_BYTES),
    ),
    "answers that a worker": (
        number(record_headers.MAX_CACHED),
        size(record_headers.CACHE_BYTES),
    ),
    "pushes to a workload": (f"{change_notifier._PAUSE_S * 1000:g} ms", "64 KiB"),
    "nonces that a heartbeat": (
        number(heartbeat.MAX_TRAIL),
        number(instance._MAX_ANSWERED),
        number(heartbeat.MAX_TRAIL - instance._MAX_ANSWERED),
    ),
    "signed batches kept": (size(recovery_offers.MAX_BYTES),),
    "tokens to report as used": (number(usage_reports.CAPACITY),),
    "heartbeats, look-ups": (
        number(sidecar_requests._MAX_HEARTBEATS),
        number(sidecar_requests._MAX_LOOKUPS),
        number(sidecar_requests._MAX_SINCE),
    ),
    "questions that wait": (
        f"{number(sequencer._CAPACITY)} commands",
        f"{number(grant._CAPACITY)} heartbeats",
        f"{number(resolver._CAPACITY)} look-ups",
        f"{number(membership._CAPACITY)} messages",
    ),
    "offers of lost events": (
        number(sidecar_requests._MAX_OFFERS),
        number(sidecar_routes._MAX_OFFERS),
    ),
    "batches to announce": (number(publisher._CAPACITY),),
    "records for Redis": (number(shared_records._CAPACITY),),
    "recent events in memory": (number(recent_events.CAPACITY), size(recent_events.MAX_BYTES)),
    "tokens reported as used": (number(last_used.CAPACITY),),
    "HTTP connections, event": (number(LIMITS.most), number(http_server._OTHER_DESCRIPTORS)),
    "HTTP connections of one address": (number(LIMITS.most_of_peer),),
    "HTTP connections that the proof": (number(LIMITS.most_of_owner),),
    "a TLS handshake": (seconds(LIMITS.head_s),),
    "head of a request": (size(connection_limits._READ_BYTES), seconds(LIMITS.head_s)),
    "body of a request": (
        size(middleware.UNPROVEN_BODY_BYTES),
        size(middleware.MAX_BODY_BYTES),
        seconds(LIMITS.body_s),
    ),
    "bodies in memory": (
        size(middleware._UNPROVEN_BYTES),
        size(middleware._PROVEN_BYTES),
        size(connection_limits._READ_BYTES),
    ),
    "pause between requests": (seconds(LIMITS.idle_s), seconds(LIMITS.stalled_s)),
    "requests without a token": (
        number(middleware._UNPROVEN_AT_ONCE),
        number(middleware._HEALTH_AT_ONCE),
        seconds(gate._MAX_WAIT_S),
    ),
    "sources of refused calls": (number(refusal_log._MAX_SOURCES), "a minute"),
    "refused calls in the audit": (
        number(refusal_audit.CAPACITY),
        "one a second",
        number(refusal_audit.CAPACITY),
    ),
    "sessions of a subject": (number(setting(AuthoritySettings, "sessions_per_subject")),),
    "time without a use": (
        f"{setting(AuthoritySettings, 'session_idle') / 3600:g} hours",
        f"{end_timer.USE_REPORTED_WITHIN_S} s",
        seconds(end_timer._POLL_S),
    ),
    "tokens known as refused": (number(authoriser._MAX_REFUSED),),
    "search for one page": (f"{token_search._PAGE_NS / 1e6:g} ms",),
    "exact count of tokens": (
        number(token_search.EXACT_UP_TO),
        f"{token_search._COUNT_NS / 1e6:g} ms",
    ),
    "marks in a turn": (
        number(revoked_marks.MOST),
        number(revoked_marks.MOST * revoked_marks._FEW_EACH),
    ),
    "sidecars of a credential": (number(enrol.MAX_INSTANCES), {10: "ten times"}[enrol._BEGUN]),
    "ids of instances": (),
    "changes by the holder": (
        number(setting(AuthoritySettings, "self_service_per_s")),
        number(change_budgets.BURST_S),
    ),
    "budgets of such holders": (number(change_budgets.MAX_BUDGETS),),
    "age of an idempotency": (f"{idempotency.KEPT_S // 3600} hours",),
    "count of what a command": (
        number(preview.MAX_COUNTED),
        seconds(hit_counts._DEADLINE_S),
        {0.25: "a quarter"}[hit_counts.AFTER_A_WAIT_S],
        number(hit_counts._AT_ONCE),
        number(hit_counts._MAX_WAITING),
    ),
    "`ledger-index` of a host": (f"{ledger_index.KEPT_US // 86_400_000_000} days",),
    "events read at once to follow": (number(ledger_watch.MOST),),
    "tokens whose refused rows": (number(refused_rows.MOST),),
    "rows that get another MAC": (number(row_rewriter.BATCH),),
    "noted moments": (
        number(row_read_times._MOST),
        number(row_read_times._LEAST_EACH),
        number(row_read_times._MAX_PER_KIND),
    ),
    "verifiers that it names": (number(receipt.MAX_INLINE),),
    "what a summary names": (
        number(receipt.MAX_LAPSED),
        number(receipt.MAX_SLOWEST),
        number(receipt.MAX_GRACE),
        number(receipt.MAX_SERVICES),
    ),
    "verifiers in an answer": (number(receipts_api.MAX_VERIFIERS),),
    "verifiers in a table": (
        number(receipt_progress.MAX_SHOWN),
        number(receipt_progress.MAX_SERVICES),
    ),
    "verifiers at all": (number(receipt_details.MAX_CHUNKS * receipt_details.PER_CHUNK),),
    "scopes, labels, services": (
        number(record.MAX_SCOPES),
        number(record.MAX_LABELS),
        number(validation.MAX_AUDIENCE),
    ),
    "ancestors, patterns": (number(record.MAX_LINEAGE), number(validation.MAX_PATTERNS)),
    "overlap of a rotation; of": (
        f"{validation.MAX_TTL_S // 86_400} days",
        {3_600: "an hour"}[rotate_and_expire._MAX_ADMIN_OVERLAP_S],
    ),
    "handles, labels, ancestors": (size(record.MAX_NAMES_BYTES),),
    "overlap of a rotation by": ({3_600_000_000: "an hour"}[MAX_OWN_OVERLAP_US],),
    "NATS messages not yet": (
        number(nats_connection._MAX_PENDING),
        size(nats_connection._MAX_PENDING_BYTES),
    ),
    "counters, epochs and seqs": (f"2^{codec.MAX_ORDINAL.bit_length() - 1}",),
    "serial of a trust statement": (
        f"2^{codec.MAX_ORDINAL.bit_length() - 1}",
        f"{trust.MAX_LIFE_US // 86_400_000_000} days",
        number(wire_trust.MAX_LINKS),
    ),
    "looks at what a workload": (
        {4: "a fifth"}[monitor._PAUSE_FACTOR],
        number(monitor._MAX_REQUESTS),
    ),
    "questions about holds": ("once",),
    "entries in a workload": (number(verifier.MAX_ENTRIES),),
    "requests of a workload": ("64 KiB",),
}


def rows() -> list[tuple[str, str, str, str]]:
    found = [
        tuple(cell.strip() for cell in line.strip("|").split(" | "))
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    assert all(len(cells) == 4 for cells in found), found
    return [cells for cells in found if cells[1] != "at most"]  # type: ignore[misc]


ROWS = {row[0]: row for row in rows()}


def row_of(title: str) -> tuple[str, str, str, str]:
    """Find the row that begins with a title: of several the one that says no more than that."""
    begun = sorted((name for name in ROWS if name.startswith(title)), key=len)
    assert begun, f"no row begins with {title!r}"
    return ROWS[begun[0]]


def test_every_row_is_compared_and_every_comparison_has_its_row() -> None:
    assert len({row_of(title) for title in FIGURES}) == len(FIGURES) == len(ROWS)


@pytest.mark.parametrize("title", FIGURES)
def test_the_figures_of_a_row_are_those_of_the_code(title: str) -> None:
    rest = " ".join(row_of(title)[1:3])
    for figure in FIGURES[title]:
        found = re.search(rf"(?<![\d,.]){re.escape(figure)}(?![\d]|[,.]\d)", rest)
        assert found, f"{title}: {figure} is not in {rest!r}"
        rest = rest[found.end() :]


@pytest.mark.parametrize("title", FIGURES)
def test_a_row_names_tests_that_exist(title: str) -> None:
    """A name without a folder is in the folder of the name before it."""
    named = re.findall(r"`([a-z_/]*test_[a-z_0-9]+\.py)`", row_of(title)[3])
    assert named, f"{title} names no test"
    folder = TESTS
    for name in named:
        path = TESTS / name if "/" in name else folder / name
        assert path.exists(), f"{title}: {name} does not exist"
        folder = path.parent


def test_the_page_for_proxies_states_the_longest_possible_scopes() -> None:
    longest = record.MAX_SCOPES * scopes.MAX_CHARACTERS + record.MAX_SCOPES - 1
    assert number(longest) in (PAGE.parent / "verify.md").read_text()
