"""One SQL statement a file, headed by what it answers and which index serves it."""

from functools import cache
from importlib.resources import files


@cache
def read(name: str) -> str:
    """Return the text of `<name>.sql`."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
