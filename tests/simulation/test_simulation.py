"""Whole systems in virtual time: no promise is broken, whatever goes wrong and in which order.

A failing seed is replayed with `pytest tests/simulation --seed N`. It is the same run again, on
every machine: no clock, no hash and no thread has a say in it.
"""

import contextlib
import dataclasses
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest
from tests.simulation import runs
from tests.simulation.plan import SIDECARS, Fault, Plan, draw
from tests.simulation.world import fingerprint, simulate

from rescind.errors import MalformedMessageError
from rescind.wire import lookups
from rescind.wire.lookups import LookupAnswer, LookupRequest, LookupUnavailable
from rescind_sidecar.link import authority_client
from rescind_sidecar.ports import InstanceCredentials

_ENOUGH = 100
say = print


@pytest.mark.timeout(7_200)
def test_no_check_that_starts_after_a_receipt_is_accepted_and_all_recovers(
    request: pytest.FixtureRequest,
) -> None:
    only: int | None = request.config.getoption("--seed")
    number: Any = request.config.getoption("--seeds")
    wrong, count = runs.some([only]) if only is not None else runs.many(range(number))
    for what, times in sorted(count.items()):
        say(f"{times:9} {what}")
    for seed, problems in wrong.items():
        say(f"\npytest tests/simulation --seed {seed}", *problems, sep="\n    ")
    assert not wrong, f"broken promises; the first is replayed by --seed {min(wrong)}"
    if only is None and number >= _ENOUGH:
        assert_that_much_happened(count)


def assert_that_much_happened(count: dict[str, int]) -> None:
    """Assert that each fault and each outcome occurred in some run."""
    effects = {"receipts: revoke", "receipts: suspend", "receipts: narrow"}
    outcomes = {"acknowledged", "lapsed", "released", "grace"}
    denials = {"revoked", "suspended", "no_lease", "unavailable", "insufficient_scope"}
    expected = {fault.name for fault in Fault} | effects | {"accepted", "issued", "asked again"}
    expected |= {f"verifiers: {outcome}" for outcome in outcomes}
    expected |= {"NATS away", "ended by themselves", "held, and ended"}
    expected |= {f"denied: {denial}" for denial in denials}
    expected |= {f"receipts: {change}" for change in ("expire", "rotate", "end")}
    expected |= {"denied: expired", "Postgres's clock was set back"}
    assert not expected - count.keys()


def test_a_seed_is_the_same_run_again_in_another_process_and_with_other_hashes() -> None:
    script = (
        "from tests.simulation import runs, test_simulation as here\n"
        "with runs.silence():\n"
        "    print(*[here.fingerprint(here.simulate(here.draw(seed))) for seed in range(1, 6)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hashes, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.split()
        for hashes in ("1", "2")
    ]
    with runs.silence():
        here = [fingerprint(simulate(draw(seed))) for seed in range(1, 6)]
    assert told == [here, here]
    assert len(set(here)) == 5


def test_a_clock_that_is_slower_than_assumed_breaks_a_promise() -> None:
    with runs.silence():
        assert any(
            "was enforced at" in problem
            for seed in range(100)
            for problem in simulate(slow(seed)).wrong
        )


def test_control_a_sidecar_that_accepts_any_first_answer_reports_a_token_as_unknown() -> None:
    """The control: the oracle sees it where answers without a MAC are believed."""

    def believing(
        asked: LookupRequest, credentials: InstanceCredentials, answer: bytes
    ) -> LookupAnswer | LookupUnavailable | None:
        with contextlib.suppress(MalformedMessageError):
            found = lookups.decode_answer(answer)
            return dataclasses.replace(found, nonce=asked.nonce, token_hash=asked.token_hash)
        return careful(asked, credentials, answer)

    careful = authority_client._match_reply
    with runs.silence(), mock.patch.object(authority_client, "_match_reply", believing):
        assert any(
            "a token is called unknown" in problem
            for seed in range(10)
            for problem in simulate(draw(seed)).wrong
        )


def slow(seed: int) -> Plan:
    """Draw a plan whose sidecars' clocks are slower than what design 7 assumes."""
    return dataclasses.replace(draw(seed), sidecar_rates=(0.6,) * SIDECARS)
