"""The errors, one class for each situation: facts as attributes, advice in the text."""

from collections.abc import Callable
from typing import Any


class RescindError(Exception):
    """Base class of every error that this package raises on purpose.

    Each error can be pickled and copied, whatever the parameters of its constructor: task queues
    and process pools pass errors from one process to another.
    """

    def __reduce__(
        self,
    ) -> tuple[Callable[..., "RescindError"], tuple[Any, ...], dict[str, Any] | None]:
        """Return the text and attributes for pickle, as the constructor would change the text."""
        return _restored, (type(self), self.args), self.__dict__ or None


class MalformedTokenError(RescindError):
    """Raised when a text is not a token. Never carries the text, which may be a secret."""


class MalformedMessageError(RescindError):
    """Raised when bytes from the wire are not the expected message."""

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(f"{message}: {problem}")
        self.message = message
        self.problem = problem


class TooLargeError(RescindError):
    """Raised when a message would exceed the limit of its readers; it was not written."""


class SelectorError(RescindError):
    """Raised for an invalid handle or selector; the text shows a valid one."""


class ConditionError(RescindError):
    """Raised when a text is not a valid condition of a token."""


class ScopeError(RescindError):
    """Raised for an invalid scope or pattern of scopes; the text shows a valid one."""


class PostureError(RescindError):
    """Raised for an invalid posture; the text shows a valid one."""


class TableError(RescindError):
    """Raised when a generation table cannot be trusted."""


class UnreachableError(RescindError):
    """Raised when a service did not answer in time; the text names its address."""


class DeniedError(RescindError):
    """Raised for a denied token where a verdict cannot be returned; `reason` is why."""

    def __init__(self, reason: str) -> None:
        # The text is built later: Celery restores an error by its class and `args`, as JSON.
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        """Return the text of the error."""
        return f"the token is denied: {self.reason}"


def _restored(cls: type[RescindError], args: tuple[Any, ...]) -> RescindError:
    error = cls.__new__(cls, *args)
    # The constructor of Exception, or of another builtin base class.
    builtin = next(each for each in cls.__mro__ if each.__module__ == "builtins")
    builtin.__init__(error, *args)  # type: ignore[misc]  # its class fits: from the MRO
    return error
