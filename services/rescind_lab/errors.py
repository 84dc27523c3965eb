"""The error of a demo or a measurement."""

from rescind.errors import RescindError


class LabError(RescindError):
    """A demo or a measurement failed, and therefore has no result."""
