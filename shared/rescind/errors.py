"""What can go wrong, one class a situation. The facts are attributes; the advice is in the text."""

from collections.abc import Callable
from typing import Any


class RescindError(Exception):
    """Be the base of every error that this package raises on purpose.

    Each can be pickled and copied, whatever its constructor takes: task queues and process pools
    hand errors from one process to another.
    """

    def __reduce__(
        self,
    ) -> tuple[Callable[..., "RescindError"], tuple[Any, ...], dict[str, Any] | None]:
        """Give pickle the text and the facts; the constructor would make another text of them."""
        return _restored, (type(self), self.args), self.__dict__ or None


class MalformedTokenError(RescindError):
    """Say that a text is not a token. Never carries the text: it may be somebody's secret."""


class MalformedMessageError(RescindError):
    """Say that bytes from the wire are not the message they should be."""

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(f"{message}: {problem}")
        self.message = message
        self.problem = problem


class TooLargeError(RescindError):
    """A message would be larger than its readers take; it was not written."""


class SelectorError(RescindError):
    """Say what is wrong with a handle or a selector, and what a good one looks like."""


class ConditionError(RescindError):
    """Say why a text is no condition of a token."""


class ScopeError(RescindError):
    """Say what is wrong with a scope or a pattern of scopes, and what a good one looks like."""


class PostureError(RescindError):
    """Say what is wrong with a posture, and what a good one looks like."""


class TableError(RescindError):
    """Say why a generation table cannot be believed."""


class UnreachableError(RescindError):
    """Say that a service did not answer in time, and where it was looked for."""


class DeniedError(RescindError):
    """Carry the reason of a denial to where a value would not do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the token is denied: {reason}")
        self.reason = reason


def _restored(cls: type[RescindError], args: tuple[Any, ...]) -> RescindError:
    error = cls.__new__(cls, *args)
    # That of Exception, or of another builtin that a class is derived from as well.
    builtin = next(each for each in cls.__mro__ if each.__module__ == "builtins")
    builtin.__init__(error, *args)  # type: ignore[misc]  # its class fits: from the MRO
    return error
