"""The fake that ships judges by the real rules."""

import doctest
import inspect

import pytest

from rescind.client.verifier import Verifier
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import SelectorError
from rescind.testing import FakeVerifier
from rescind.testing import verifier as shipped


def test_the_fake_denies_with_every_reason_for_its_own_cause() -> None:
    verifier = FakeVerifier(audience="search")
    early = verifier.issue(not_before_s=10)
    assert verifier.check("rsc_agt_x") == Denied(Reason.MALFORMED)
    assert verifier.check(early.token) == Denied(Reason.NOT_YET_VALID)
    verifier.advance(10)
    assert isinstance(verifier.check(early.token), Allowed)
    verifier.advance(3600)
    assert verifier.check(early.token) == Denied(Reason.EXPIRED)


def test_a_child_dies_with_its_parent() -> None:
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


def test_an_invalid_selector_is_refused() -> None:
    with pytest.raises(SelectorError):
        FakeVerifier().revoke("nonsense")


def test_the_example_in_its_docstring_is_true() -> None:
    tried = doctest.testmod(shipped)
    assert tried.attempted
    assert not tried.failed


def test_the_fake_has_every_method_of_a_verifier_with_the_same_arguments() -> None:
    public = {name for name in vars(Verifier) if not name.startswith("_")} - {
        "attach",  # it has nothing to attach to
        "shares_memory",
    }
    for name in public:
        real, fake = getattr(Verifier, name), getattr(FakeVerifier, name, None)
        if inspect.isfunction(real):
            assert fake is not None, name
            assert inspect.signature(fake) == inspect.signature(real), name
        elif name != "service":
            assert isinstance(fake, property), name


def test_a_suspension_also_holds_what_is_issued_later_and_ends_when_it_is_lifted() -> None:
    verifier = FakeVerifier()
    suspension = verifier.suspend("subject:agent:a")
    late = verifier.issue(subject="agent:a")
    assert verifier.check(late.token) == Denied(Reason.SUSPENDED)
    verifier.lift(suspension)
    assert isinstance(verifier.check(late.token), Allowed)


def test_a_revocation_cannot_be_lifted() -> None:
    verifier = FakeVerifier()
    verifier.issue(subject="agent:a")
    revocation = verifier.revoke("subject:agent:a")
    with pytest.raises(ValueError, match="final"):
        verifier.lift(revocation)


def test_without_a_lease_the_fake_is_not_ready_and_denies_everything() -> None:
    verifier = FakeVerifier()
    agent = verifier.issue()
    with verifier.without_lease():
        assert verifier.check(agent.token) == Denied(Reason.NO_LEASE)
        assert not verifier.ready()
        assert verifier.freshness().fresh_for_ms == 0
    assert verifier.ready()
    assert isinstance(verifier.check(agent.token), Allowed)
