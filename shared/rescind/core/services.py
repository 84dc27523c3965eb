"""The name of a service: part of a subject, a socket's file name and a receipt."""

import re

from rescind.errors import RescindError

PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

_NAME = re.compile(PATTERN)


class ServiceNameError(RescindError):
    """Raised for an invalid name of a service; the text shows a valid one."""


def parse(text: str) -> str:
    """Return a text that is a valid name of a service. Raises ServiceNameError."""
    if _NAME.fullmatch(text) is None:
        raise ServiceNameError(
            f"{text!r} is not a service's name: expected 1 to 63 letters, digits, dots, hyphens "
            "and underscores, a letter or digit first"
        )
    return text
