"""The NATS subjects of the contract."""

from rescind.wire import subjects


def test_the_subjects_are_those_of_the_contract() -> None:
    assert {
        subjects.EVENTS,
        subjects.ACK,
        subjects.WANTED,
        subjects.HEARTBEAT,
        subjects.RESOLVE,
        subjects.SINCE,
        subjects.ENROL,
        subjects.USED,
        subjects.OFFER,
    } == {
        f"rescind.v1.{name}"
        for name in (
            *("events", "ack", "wanted", "heartbeat", "resolve", "since", "enrol", "used"),
            "offer",
        )
    }


def test_the_same_requests_go_over_http_under_link() -> None:
    assert subjects.path(subjects.HEARTBEAT) == "/link/v1/heartbeat"
    assert subjects.path(subjects.RESOLVE) == "/link/v1/resolve"
