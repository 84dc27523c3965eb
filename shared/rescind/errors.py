"""What can go wrong, one class a situation. The facts are attributes; the advice is in the text."""


class RescindError(Exception):
    """Be the base of every error that this package raises on purpose."""


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
