"""A sidecar that runs, and an authority that wants it to enrol again: truly, or not."""

from pathlib import Path

from tests.support.sidecar import LedgerInMemory, running, wait_until

from rescind.wire import heartbeat
from rescind_sidecar.ports import InstanceCredentials, UnknownInstanceError
from rescind_sidecar.usecases.lookup.answer import ValidRecord


class ForgedEnrolAgainLedger(LedgerInMemory):
    """An authority in whose place an attacker sends ENROL_AGAIN, which every client can send."""

    def __init__(self) -> None:
        super().__init__()
        self.forged_replies = 0

    async def beat(
        self, message: heartbeat.Heartbeat, credentials: InstanceCredentials
    ) -> heartbeat.Reply | heartbeat.NoLease:
        if self.forged_replies:
            self.forged_replies -= 1
            raise UnknownInstanceError
        return await super().beat(message, credentials)


def test_a_new_epoch_makes_a_new_instance(tmp_path: Path) -> None:
    link = LedgerInMemory()
    with running(tmp_path / "search.sock", link) as sidecar:
        before = sidecar.answer.instance
        link.revoke("tenant:t")
        link.restore(0, epoch=2)
        wait_until(lambda: sidecar.answer.instance != before)
        wait_until(lambda: sidecar.leased)
        assert sidecar.tally.instances_ended == 1
        current = sidecar.instances.current
        assert current.view.applied == link.position
        assert current.credentials is not None
        assert current.credentials.secret == link.secret(current.instance)


def test_a_forged_request_to_enrol_again_does_not_end_the_instance(tmp_path: Path) -> None:
    link = ForgedEnrolAgainLedger()
    token = link.issue()
    with running(tmp_path / "search.sock", link) as sidecar:
        assert isinstance(sidecar.look(token), ValidRecord)
        before, enrolled = sidecar.answer.instance, link.enrolled
        link.forged_replies = 3
        wait_until(lambda: link.forged_replies == 0)
        assert link.enrolled >= enrolled + 2
        assert sidecar.leased
        assert sidecar.answer.instance == before
        assert isinstance(sidecar.look(token), ValidRecord)
        assert (sidecar.tally.instances_ended, link.resolved) == (0, 1)


def test_no_lease_and_no_record_without_enrolment(tmp_path: Path) -> None:
    link = LedgerInMemory()
    link.reachable = False
    token = link.issue()
    with running(tmp_path / "search.sock", link) as sidecar:
        assert not isinstance(sidecar.look(token), ValidRecord)
        assert sidecar.instances.current.credentials is None
        link.reachable = True
        wait_until(lambda: sidecar.leased)
        assert isinstance(sidecar.look(token), ValidRecord)
