"""The fake that ships judges by the real rules."""

import pytest

from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import SelectorError
from rescind.testing import FakeVerifier


def test_it_denies_with_every_reason_for_its_own_cause() -> None:
    verifier = FakeVerifier(audience="search")
    early = verifier.issue(not_before_s=10)
    assert verifier.check("rsc_agt_x") == Denied(Reason.MALFORMED)
    assert verifier.check(early.token) == Denied(Reason.NOT_YET_VALID)
    verifier.advance(10)
    assert isinstance(verifier.check(early.token), Allowed)
    verifier.advance(3600)
    assert verifier.check(early.token) == Denied(Reason.EXPIRED)


def test_what_was_delegated_dies_with_what_delegated_it() -> None:
    verifier = FakeVerifier()
    parent = verifier.issue(subject="agent:p")
    child = verifier.issue(subject="agent:p/c", parent=parent)
    other = verifier.issue(subject="agent:q")
    verifier.revoke("subject:agent:p")
    assert verifier.check(child.token) == Denied(Reason.REVOKED)
    assert isinstance(verifier.check(other.token), Allowed)


def test_a_token_issued_after_a_revocation_is_good() -> None:
    verifier = FakeVerifier()
    verifier.revoke("subject:agent:a")
    assert isinstance(verifier.check(verifier.issue(subject="agent:a").token), Allowed)


def test_a_token_of_another_fake_is_unknown() -> None:
    assert FakeVerifier().check(FakeVerifier().issue().token) == Denied(Reason.UNKNOWN)


def test_a_selector_that_is_none_says_so() -> None:
    with pytest.raises(SelectorError):
        FakeVerifier().revoke("nonsense")
