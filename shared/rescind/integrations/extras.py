"""The packages that integrations need, and that `pip install rescind` does not bring."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def needing(package: str, install: str) -> Generator[None]:
    """Add to a failed import of a package how to install it. Raises ImportError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"this integration needs {install}: pip install {install}", name=error.name
        ) from error
