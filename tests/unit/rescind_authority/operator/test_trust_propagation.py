"""Who has heard of a statement, and until when others go on: nothing is called heard early."""

from dataclasses import replace

from rescind.core import lease
from rescind_authority.operator.trust_propagation import _divide
from rescind_authority.postgres.trust_reports import TrustReport, TrustReports, _longest_us

NOW_US = 1_767_225_600_000_000
SECOND_US = 1_000_000
ONE = TrustReport(b"1" * 16, "search", "host", 3, NOW_US, NOW_US + 10 * SECOND_US)


def divided(
    *sidecars: TrustReport, serial: int = 3, since_us: int = 0, at_us: int = NOW_US
) -> tuple[list[TrustReport], list[TrustReport]]:
    heard, waiting = _divide(TrustReports(at_us, sidecars), serial=serial, since_us=since_us)
    return list(heard), list(waiting)


def test_an_instance_that_reports_this_statement_or_a_newer_one_counts_as_updated() -> None:
    newer, older = replace(ONE, trust_serial=4), replace(ONE, trust_serial=2)
    assert divided(ONE, newer, older) == ([ONE, newer], [older])


def test_an_instance_that_reports_no_statement_is_waited_for() -> None:
    silent = replace(ONE, trust_serial=None)
    assert divided(silent) == ([], [silent])


def test_an_outdated_instance_is_ignored_once_its_lease_has_ended() -> None:
    older = replace(ONE, trust_serial=2)
    assert divided(older, at_us=older.stops_us - 1) == ([], [older])
    assert divided(older, at_us=older.stops_us) == ([], [])


def test_a_heartbeat_that_a_stolen_master_key_could_have_signed_proves_nothing() -> None:
    since_us = NOW_US + SECOND_US
    forged = replace(ONE, trust_serial=1 << 62)
    assert divided(forged, since_us=since_us) == ([], [forged])
    later = replace(forged, last_seen_us=since_us)
    assert divided(later, since_us=since_us) == ([later], [])


def test_a_lease_is_waited_for_as_long_as_receipts_wait_plus_its_grace() -> None:
    wait_us = lease.wait_ns(10_000) // 1_000
    assert _longest_us(10_000, "strict") == wait_us
    assert _longest_us(10_000, "grace:session=60s") == wait_us + 72 * SECOND_US
    assert _longest_us(10_000, "one of the future") == wait_us + 4_320 * SECOND_US
