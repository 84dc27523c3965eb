"""A sidecar that runs, and an authority that wants it to enrol again: truly, or not."""

from pathlib import Path

from tests.support.sidecar import LedgerInMemory, running, wait_until

from rescind.wire import heartbeat
from rescind_sidecar.ports import NotEnrolledError, Voice
from rescind_sidecar.usecases.answer import Found


class Doubtful(LedgerInMemory):
    """An authority in whose place somebody says ENROL_AGAIN, which anybody can say."""

    def __init__(self) -> None:
        super().__init__()
        self.doubts = 0

    async def beat(self, message: heartbeat.Heartbeat, voice: Voice) -> heartbeat.Reply:
        if self.doubts:
            self.doubts -= 1
            raise NotEnrolledError
        return await super().beat(message, voice)


def test_a_new_epoch_makes_a_new_instance(tmp_path: Path):
    link = LedgerInMemory()
    with running(tmp_path / "search.sock", link) as sidecar:
        before = sidecar.answer.instance
        link.revoke("tenant:t")
        link.restore(0, epoch=2)
        wait_until(lambda: sidecar.answer.instance != before)
        wait_until(lambda: sidecar.leased)
        assert sidecar.tally.instances_ended == 1
        current = sidecar.incarnations.current
        assert current.view.applied == link.position
        assert current.voice is not None
        assert current.voice.secret == link.secret(current.instance)


def test_a_forged_wish_to_enrol_again_does_no_harm(tmp_path: Path):
    link = Doubtful()
    token = link.issue()
    with running(tmp_path / "search.sock", link) as sidecar:
        assert isinstance(sidecar.look(token), Found)
        before, enrolled = sidecar.answer.instance, link.enrolled
        link.doubts = 3
        wait_until(lambda: link.doubts == 0)
        assert link.enrolled >= enrolled + 2
        assert sidecar.leased
        assert sidecar.answer.instance == before
        assert isinstance(sidecar.look(token), Found)
        assert (sidecar.tally.instances_ended, link.resolved) == (0, 1)


def test_no_lease_and_no_record_without_enrolment(tmp_path: Path):
    link = LedgerInMemory()
    link.reachable = False
    token = link.issue()
    with running(tmp_path / "search.sock", link) as sidecar:
        assert not isinstance(sidecar.look(token), Found)
        assert sidecar.incarnations.current.voice is None
        link.reachable = True
        wait_until(lambda: sidecar.leased)
        assert isinstance(sidecar.look(token), Found)
