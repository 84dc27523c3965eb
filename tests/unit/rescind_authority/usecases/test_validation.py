"""The facts of a new token are bounded in number; what is too much is named with its field."""

from collections.abc import Callable

import pytest

from rescind_authority.errors import InvalidRequestError
from rescind_authority.usecases.validation import FieldErrors

BOUNDS: dict[str, tuple[int, Callable[[FieldErrors, list[str]], object]]] = {
    "scopes": (64, lambda findings, names: findings.scopes(names)),
    "labels": (32, lambda findings, names: findings.labels(dict.fromkeys(names, "x"))),
    "audience": (64, lambda findings, names: findings.audience(names)),
    "may_speak_for": (
        16,
        lambda findings, names: findings.limits([f"user:{name}" for name in names], None),
    ),
    "max_depth": (16, lambda findings, names: findings.limits((), len(names))),
}


@pytest.mark.parametrize("field", BOUNDS)
def test_a_list_at_its_limit_is_accepted_and_a_longer_one_is_refused_at_its_field(
    field: str,
) -> None:
    most, ask = BOUNDS[field]
    findings = FieldErrors()
    ask(findings, [f"n{number}" for number in range(most)])
    findings.raise_if_any()
    ask(findings, [f"n{number}" for number in range(most + 1)])
    with pytest.raises(InvalidRequestError) as error:
        findings.raise_if_any()
    assert [problem.field for problem in error.value.problems] == [field]
