"""The requirements that a proxy states for a route: scopes, an audience and a position.

An unknown parameter is an error. If it were ignored, the check would cover less than its author
intended.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rescind.core import scopes
from rescind.errors import ScopeError

_LARGEST_SEQ = (1 << 64) - 1


class RequirementsError(ValueError):
    """Raised for parameters that cannot be used; the text never contains one, it may be secret."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """The scopes that a token must have, the audience, and the position that an answer covers."""

    require: frozenset[str] = frozenset()
    audience: str | None = None
    min_seq: int = 0


NO_REQUIREMENTS = Requirements()


def parse(parameters: Iterable[tuple[str, str]], *, advice: str) -> Requirements:
    """Return the requirements in parameters: `require` or `scope`, `audience` and `min_seq`.

    `advice` ends the error for an unknown parameter. Raises RequirementsError.
    """
    require = set[str]()
    audiences = set[str]()
    min_seq = 0
    for name, text in parameters:
        match name:
            case "require" | "scope":
                require.update(_parse_scopes(name, text))
            case "audience":
                audiences.add(_parse_audience(text))
            case "min_seq":
                # The largest of several: an appended parameter can only demand more.
                min_seq = max(min_seq, _parse_seq(text))
            case _:
                raise RequirementsError(
                    "A parameter is not known. Send `require` (or `scope`), `audience` and "
                    f"`min_seq`, {advice}."
                )
    if len(audiences) > 1:
        raise RequirementsError("`audience` names one service.")
    return Requirements(frozenset(require), audiences.pop() if audiences else None, min_seq)


def _parse_scopes(name: str, text: str) -> list[str]:
    names = [each for each in text.split(" ") if each]
    if not names:
        # Most likely a variable of the proxy is not set: this must not mean "no scope".
        raise RequirementsError(f"`{name}` names scopes, and this one is empty.")
    try:
        return [scopes.parse(each) for each in names]
    except ScopeError:
        raise RequirementsError(
            f"`{name}` names scopes, separated by spaces (%20 in a query), and one of these is not "
            "valid."
        ) from None


def _parse_audience(text: str) -> str:
    if not text:
        raise RequirementsError("`audience` names a service, and this one is empty.")
    return text


def _parse_seq(value: str) -> int:
    # The length is checked first: Python parses no number of more than 4,300 digits.
    short = len(value) <= len(str(_LARGEST_SEQ))
    if short and value.isascii() and value.isdecimal() and int(value) <= _LARGEST_SEQ:
        return int(value)
    raise RequirementsError("`min_seq` is a position of the ledger: a number, 1042 say.")
