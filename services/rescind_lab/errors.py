"""The error of a demonstration or a measurement."""

from rescind.errors import RescindError


class SceneError(RescindError):
    """Report what went wrong in a scene, so that it shows nothing."""
