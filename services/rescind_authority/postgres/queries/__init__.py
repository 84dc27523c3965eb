"""One SQL statement a file.

Its header says what it reads or writes, what each parameter is, what a lock is for, and which
indexes serve it.
"""

from functools import cache
from importlib.resources import files


@cache
def read(name: str) -> str:
    """Return the text of `<name>.sql`."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
