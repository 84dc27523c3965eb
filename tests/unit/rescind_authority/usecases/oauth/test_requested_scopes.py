"""The scopes that a client requests, against its registration."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rescind.core.record import MAX_SCOPES
from rescind_authority.usecases.oauth import registration
from rescind_authority.usecases.oauth.client_tokens import BeyondRegistrationError, require_scopes


class CountedScopes(tuple[str, ...]):
    """Scopes that count how often they are compared."""

    __slots__ = ()
    compared = 0

    def __iter__(self) -> Iterator[str]:
        CountedScopes.compared += 1
        return super().__iter__()


def test_too_many_scopes_are_refused_before_they_are_compared() -> None:
    registered = replace(registration.NOTHING, scopes=CountedScopes(("orders:*",)))
    require_scopes(registered, [f"orders:{each}" for each in range(MAX_SCOPES)])
    assert CountedScopes.compared == MAX_SCOPES
    with pytest.raises(BeyondRegistrationError):
        require_scopes(registered, [f"orders:{each}" for each in range(60_000)])
    assert CountedScopes.compared == MAX_SCOPES


def test_a_registration_without_scopes_leaves_them_to_the_parent() -> None:
    require_scopes(registration.NOTHING, ["orders:read"])
