"""`rescind up` as a process, on a Postgres whose files were copied."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support import postgres_files, processes
from tests.support.processes import Run, clean_environment


@contextmanager
def up(
    directory: Path, *, sidecars: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[Run]:
    """Run `rescind up` on a directory with these settings; kill it at the end of the block."""
    if not (directory / "postgres").exists():
        postgres_files.lay_blocking(directory)
    options = ("--data", str(directory), "--sidecars", str(sidecars), "--port", "0", "--json")
    environ = clean_environment(**(settings or {}))
    with processes.running("-m", "rescind_cli", "up", *options, environ=environ) as run:
        yield run
