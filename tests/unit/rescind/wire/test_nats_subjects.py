"""The NATS subjects of the contract."""

from rescind.wire import nats_subjects


def test_the_subjects_are_those_of_the_contract() -> None:
    assert {
        nats_subjects.EVENTS,
        nats_subjects.ACK,
        nats_subjects.WANTED,
        nats_subjects.HEARTBEAT,
        nats_subjects.RESOLVE,
        nats_subjects.SINCE,
        nats_subjects.ENROL,
        nats_subjects.USED,
        nats_subjects.OFFER,
    } == {
        f"rescind.v1.{name}"
        for name in (
            *("events", "ack", "wanted", "heartbeat", "resolve", "since", "enrol", "used"),
            "offer",
        )
    }


def test_the_same_requests_go_over_http_under_link() -> None:
    assert nats_subjects.path(nats_subjects.HEARTBEAT) == "/link/v1/heartbeat"
    assert nats_subjects.path(nats_subjects.RESOLVE) == "/link/v1/resolve"
