"""The NATS subjects of the contract."""

from rescind.wire import subjects


def test_the_subjects_are_those_of_the_contract():
    assert {
        subjects.EVENTS,
        subjects.ACK,
        subjects.WANTED,
        subjects.HEARTBEAT,
        subjects.RESOLVE,
        subjects.SINCE,
        subjects.ENROL,
        subjects.USED,
    } == {
        f"rescind.v1.{name}"
        for name in ("events", "ack", "wanted", "heartbeat", "resolve", "since", "enrol", "used")
    }
