"""The check of real answers against types finds what is wrong, and where."""

import pytest
from tests.support.typed_answers import faults

from rescind.client.admin import LeaseTerm, SessionDetails, SubjectSessions

SESSION: SessionDetails = {
    "token_id": "tok_1",
    "current": True,
    "user_agent": None,
    "address": "10.0.0.1",
    "issued_at": "2030-01-31T12:00:00Z",
    "last_used_at": None,
    "expires_at": "2030-01-31T12:00:00.5Z",
}


def test_a_good_answer_has_no_fault() -> None:
    assert list(faults({"subject": "user:a", "sessions": [SESSION]}, SubjectSessions)) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("token_id", None),
        ("current", "yes"),
        ("user_agent", 1),
        ("issued_at", "2030-01-31T12:00:00"),
        ("expires_at", None),
        ("more", 1),
    ],
)
def test_each_wrong_field_of_a_list_is_found_at_its_place(name: str, wrong: object) -> None:
    found = {"subject": "user:a", "sessions": [SESSION, SESSION | {name: wrong}]}
    (fault, *_) = faults(found, SubjectSessions)
    assert fault.startswith("answer.sessions[1]")


def test_a_field_that_is_missing_and_a_truth_value_for_a_number_are_found() -> None:
    good = {"grant_term_ms": 1, "wait_term_ms": 1, "target_term_ms": 1, "settled": True}
    assert list(faults(good, LeaseTerm)) == []
    assert len(list(faults(good | {"grant_term_ms": True}, LeaseTerm))) == 1
    del good["settled"]
    assert len(list(faults(good, LeaseTerm))) == 1
