"""A running sidecar, and the trust statement it goes by: it ends, is renewed, and retires keys."""

from pathlib import Path

import pytest
from tests.support.sidecar import LedgerInMemory, now_us, running, wait_until

from rescind import Allowed, Denied, Reason, Verifier
from rescind_runtime.crypto.signing import Keyring

ROOT = bytes(range(32))
LIFE_US = 3_600 * 1_000_000


class ShiftedWallClock:
    """A wall clock that a test moves on."""

    ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


@pytest.fixture
def link() -> LedgerInMemory:
    link = LedgerInMemory(term_ms=500)
    link.keyring = Keyring.create(root=ROOT, now_us=now_us(), life_us=LIFE_US)
    return link


def test_no_lease_is_taken_under_a_statement_that_ended_and_a_newer_one_brings_it_back(
    tmp_path: Path, link: LedgerInMemory
) -> None:
    wall, path = ShiftedWallClock(), tmp_path / "search.sock"
    with running(path, link, wall_us=wall) as sidecar:
        token = link.issue()
        verifier = Verifier.attach(path, timeout_s=5)
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        instance = sidecar.instances.current.instance
        wall.ahead_us = LIFE_US
        wait_until(lambda: not sidecar.leased)
        assert verifier.check(token) == Denied(Reason.NO_LEASE)
        link.keyring = link.keyring.restated(root=ROOT, now_us=wall())
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        # It heard of it with the answer to a heartbeat, and goes on as the instance that it was.
        assert sidecar.instances.current.instance == instance
        verifier.close()


@pytest.mark.parametrize("kind", ["records", "enrolment", "master", "receipts"])
def test_data_that_a_retired_key_may_have_signed_is_forgotten(
    tmp_path: Path, link: LedgerInMemory, kind: str
) -> None:
    path = tmp_path / "search.sock"
    with running(path, link) as sidecar:
        token = link.issue()
        verifier = Verifier.attach(path, timeout_s=5)
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        before = sidecar.instances.current.instance
        link.keyring = link.keyring.retired((kind,), root=ROOT, now_us=now_us())
        wait_until(lambda: link.told_serial == link.keyring.serial)
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        # By a key for receipts nothing comes into a sidecar.
        anew = kind != "receipts"
        assert (sidecar.instances.current.instance != before) is anew
        assert sidecar.tally.instances_ended == anew
        verifier.close()
