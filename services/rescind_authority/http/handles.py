"""Parsing of the handles in the fields of a query."""

from rescind.core import handles
from rescind.core.handles import Handle
from rescind.errors import SelectorError
from rescind_authority.errors import FieldError, InvalidRequestError


def parse(text: str, *, field: str) -> Handle:
    """Parse the handle in a field. Raises InvalidRequestError."""
    try:
        return handles.parse(text)
    except SelectorError as error:
        raise InvalidRequestError(FieldError(field, str(error))) from None
