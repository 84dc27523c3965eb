"""The error of a demonstration or a measurement."""

from rescind.errors import RescindError


class SceneError(RescindError):
    """A failure in a scene, which therefore shows nothing."""
