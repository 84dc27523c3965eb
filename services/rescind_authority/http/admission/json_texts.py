"""Validation of JSON bodies: strings with half of a surrogate pair are refused, at any place.

JSON can contain such a half, escaped. Postgres, a response and a log cannot contain it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from rescind_authority.errors import FieldError, InvalidRequestError

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_WRONG = "this text has half of a surrogate pair (\\ud800 to \\udfff), which is not a character"


class UnreadableBodyError(ValueError):
    """Raised for a body that is not text in UTF-8."""


def check(body: bytes) -> None:
    """Validate the text of a body.

    Raises InvalidRequestError for half of a surrogate pair, and UnreadableBodyError for NUL bytes
    or bytes that are not UTF-8. Text that is not JSON passes: the JSON parser reports the error.
    """
    if b"\0" in body:
        raise UnreadableBodyError("the body is not JSON in UTF-8: it has NUL bytes.")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise UnreadableBodyError("the body is not text in UTF-8.") from None
    if not _SURROGATE.search(body):
        return
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    place = _find_broken(parsed)
    if place is not None:
        raise InvalidRequestError(FieldError(place, _WRONG))


def _find_broken(parsed: Any) -> str | None:
    """Return the name of the first field with such a text, in the form of other problems."""
    waiting: list[tuple[str, Any]] = [("", parsed)]
    while waiting:
        place, value = waiting.pop()
        inner = list(_children_of(value))
        if (isinstance(value, str) and _is_broken(value)) or any(
            _is_broken(key) for key, _ in inner
        ):
            return place or "body"
        waiting += [(f"{place}.{key}" if place else key, each) for key, each in reversed(inner)]
    return None


def _children_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("Iterable[Any]", value))
        yield from ((str(place), each) for place, each in items)


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
