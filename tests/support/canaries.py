"""A search for secrets in every place: files, processes, Postgres, Redis, NATS, answers."""

import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from redis import Redis
from tests.support import processes

_SAMPLE_S = 0.02
_OVERLAP_BYTES = 512
_CHUNK_BYTES = 1 << 22


@dataclass
class Canaries:
    """Secrets by name, with each form in which one could appear."""

    known: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, secret: str) -> str:
        """Add a secret to search for, and return it."""
        self.known[name] = secret
        return secret

    def among(self, text: bytes | str) -> set[str]:
        """Return the names of the secrets that appear in some content."""
        seen = text if isinstance(text, bytes) else text.encode(errors="replace")
        lower = seen.lower()  # hex is written both ways
        return {
            name
            for name, secret in tuple(self.known.items())  # a test adds to it meanwhile
            if any(form in seen for form in _forms(secret))
            or secret.encode().hex().encode() in lower
        }

    def in_file(self, path: Path) -> set[str]:
        """Return the names of the secrets in a file of any size, also one that is being written."""
        found: set[str] = set()
        with suppress(OSError), path.open("rb") as file:
            before = b""
            while chunk := file.read(_CHUNK_BYTES):
                found |= self.among(before + chunk)
                before = chunk[-_OVERLAP_BYTES:]
        return found


def _shows(seen: bytes, secret: str) -> bool:
    written = secret.encode().hex().encode()  # as Postgres and logs write bytes
    return written in seen or any(form in seen for form in _forms(secret))


def _forms(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield base64.b64encode(secret.encode())[:-4]  # its end depends on what follows
    if secret.startswith("rsc_"):
        yield secret.rpartition("_")[2].encode()
    with suppress(ValueError):
        yield bytes.fromhex(secret)  # a key in its binary form


def in_files(canaries: Canaries, *folders: Path) -> dict[str, set[Path]]:
    """Return the files that contain each secret."""
    found: dict[str, set[Path]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                for name in canaries.in_file(path):
                    found.setdefault(name, set()).add(path)
    return found


async def in_postgres(canaries: Canaries, dsn: str) -> set[str]:
    """Return the names of the secrets in any row of any table, in statements, and in settings."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name "
            "FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        names = [*(row["name"] for row in tables), "pg_stat_activity", "pg_settings"]
        found: set[str] = set()
        for name in names:
            rows = await connection.fetch(f"SELECT t::text AS text FROM {name} AS t")  # noqa: S608
            found |= canaries.among("\n".join(row["text"] for row in rows))
        return found
    finally:
        await connection.close()


def in_redis(canaries: Canaries, url: str) -> set[str]:
    """Return the names of the secrets in any key or value."""
    with Redis.from_url(url) as client:
        keys = list(client.scan_iter(count=1_000))
        # All are plain values; a dump of another type would have to be unpacked first.
        return canaries.among(b"\n".join([*keys, *(client.get(key) or b"" for key in keys)]))


@contextmanager
def watched_processes(canaries: Canaries) -> Iterator[dict[str, set[str]]]:
    """Collect the secrets that appear in any process's command line while the block runs."""
    found: dict[str, set[str]] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            look(found, canaries)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def look(found: dict[str, set[str]], canaries: Canaries) -> None:
    """Read every command line once."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (process / "cmdline").read_bytes()
            for name in canaries.among(line):
                found.setdefault(name, set()).add(line.replace(b"\0", b" ").decode())


def in_environments(canaries: Canaries, *folders: Path) -> Mapping[str, set[str]]:
    """Return the secrets in the environment of each process that holds one of the folders."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for pid, name in processes.users(folder).items():
            with suppress(OSError):
                found[name] = canaries.among(Path("/proc", str(pid), "environ").read_bytes())
    return found
