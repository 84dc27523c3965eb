"""Read the handles that a query has in its fields."""

from rescind.core import handles
from rescind.core.handles import Handle
from rescind.errors import SelectorError
from rescind_authority.errors import FieldError, InvalidRequestError


def parse(text: str, *, field: str) -> Handle:
    """Read the handle in a field. Raises InvalidRequestError."""
    try:
        return handles.parse(text)
    except SelectorError as error:
        raise InvalidRequestError(FieldError(field, str(error))) from None
