"""The partition claims only what it measured, and its proxy delays data, and loses none."""

import asyncio
from typing import Any

import pytest

from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.partition import findings, tcp_proxy
from rescind_lab.demo.partition.findings import PartitionTimes

MS = 1_000_000
MOMENTS = PartitionTimes(
    cut_ns=100 * MS,
    commit_ns=1_000 * MS,
    lapse_ns=3_700 * MS,
    receipt_ns=5_100 * MS,
    healed_ns=6_000 * MS,
)
RECEIPT: dict[str, Any] = {
    "verifiers": [
        {"service": "near", "outcome": "acknowledged", "latency_ms": 9.0},
        {"service": "far", "outcome": "lapsed", "latency_ms": 4_100.0},
    ]
}


def call(service: str, began_ms: int, reason: str = "", *, token: str = "revoked") -> MeasuredCall:  # noqa: S107 a name
    return MeasuredCall(
        service, token, began_ms * MS, (began_ms + 1) * MS, 503 if reason else 200, reason
    )


GOOD = [
    call("near", 900),
    call("near", 1_010, "revoked"),
    call("near", 5_200, "revoked"),
    call("near", 5_201, token="other"),
    call("far", 3_000),
    call("far", 3_600, "no_lease"),
    call("far", 5_200, "no_lease"),
    call("far", 5_201, "no_lease", token="other"),
    call("far", 6_100, "revoked"),
    call("far", 6_101, token="other"),
]


def holds(calls: list[MeasuredCall], receipt: dict[str, Any] = RECEIPT) -> list[bool]:
    lanes = findings.build_lanes(
        calls, MOMENTS, receipt, services=["near", "far"], cut_off="far", revoked="revoked"
    )
    return [claim.holds for claim in findings.check_claims(lanes, MOMENTS)]


def test_every_claim_holds_for_a_correct_partition() -> None:
    assert holds(GOOD) == [True] * 7


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        (call("near", 1_500, "no_lease"), 0),
        (call("far", 3_800, token="other"), 2),
        (call("far", 4_000, "unavailable"), 2),
        (call("far", 5_150), 4),
        (call("near", 5_150), 4),
        (call("near", 2_000, "no_lease", token="other"), 5),
        (call("far", 6_200, "no_lease", token="other"), 6),
    ],
)
def test_one_call_can_break_a_claim(more: MeasuredCall, broken: int) -> None:
    assert holds([*GOOD, more])[broken] is False


def test_a_receipt_that_reports_the_lapsed_verifier_as_acknowledged_breaks_its_claim() -> None:
    wrong = {"verifiers": [each | {"outcome": "acknowledged"} for each in RECEIPT["verifiers"]]}
    assert holds(GOOD, wrong)[3] is False


def test_nothing_is_claimed_about_what_was_not_measured() -> None:
    assert holds([]) == [False] * 7


async def _until_it_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()


@pytest.mark.asyncio
async def test_a_cut_connection_is_silent_in_both_directions_and_delivers_late_once_healed() -> (
    None
):
    server = await asyncio.start_server(_until_it_hangs_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, tcp_proxy.run_proxy() as proxy, asyncio.timeout(10):
        near = proxy.open_route(f"nats://user:word@127.0.0.1:{port}")
        assert near.startswith("nats://user:word@127.0.0.1:")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(near.rpartition(":")[2]))
        writer.write(b"one\n")
        assert await reader.readline() == b"ONE\n"
        with proxy.cut():
            writer.write(b"two\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.2)
        assert await reader.readline() == b"TWO\n"
        writer.close()
