"""Comparison of JSON values with the types of the admin client."""

import types
import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin, is_typeddict

from rescind.client.admin import receipts


def faults(found: Any, hint: Any, where: str = "answer") -> Iterator[str]:
    """Yield each difference with its place; yield nothing if the value is of the type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        yield from _in_fields(found, hint, where)
    elif origin is NotRequired:
        yield from faults(found, arguments[0], where)
    elif origin in {typing.Union, types.UnionType}:
        each = [list(faults(found, option, where)) for option in arguments]
        yield from [] if [] in each else [fault for option in each for fault in option]
    elif origin in {list, dict} and isinstance(found, origin):
        places = enumerate(found) if origin is list else found.items()
        for place, element in places:
            yield from faults(element, arguments[-1], f"{where}[{place!r}]")
    elif not _is(found, hint):
        yield f"{where} is {found!r}, and not of {hint}"


def _in_fields(found: Any, hint: Any, where: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{where} is {found!r}, and no object"
        return
    fields = typing.get_type_hints(hint, include_extras=True)
    always = {name for name, each in fields.items() if get_origin(each) is not NotRequired}
    if found.keys() - fields.keys() or always - found.keys():
        yield f"{where} has {sorted(found)}, and not {sorted(fields)}"
    for name in found.keys() & fields.keys():
        yield from faults(found[name], fields[name], f"{where}.{name}")


def _is(found: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return found in get_args(hint)
    if get_origin(hint) is Annotated and hint == receipts.Timestamp:
        return isinstance(found, str) and datetime.fromisoformat(found).tzinfo is not None
    if hint in {int, float}:
        numbers = (int,) if hint is int else (int, float)
        return isinstance(found, numbers) and not isinstance(found, bool)
    return isinstance(found, get_origin(hint) or hint)
