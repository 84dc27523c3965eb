"""A search for secrets in every place: files, processes, Postgres, Redis, NATS, answers."""

import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import asyncpg
from redis import Redis
from tests.support import processes

_SAMPLE_S = 0.02
_NEW_TURNS = 10
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
            if any(form in seen for form in _forms(secret)) or _as_hex(secret) in lower
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


@cache
def _forms(secret: str) -> tuple[bytes, ...]:
    # The end of base64 depends on the bytes that follow.
    forms = [secret.encode(), base64.b64encode(secret.encode())[:-4]]
    if secret.startswith("rsc_"):
        forms.append(secret.rpartition("_")[2].encode())
    with suppress(ValueError):
        forms.append(bytes.fromhex(secret))  # a key in its binary form
    return tuple(forms)


@cache
def _as_hex(secret: str) -> bytes:
    return secret.encode().hex().encode()


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
    lines = _CommandLines(canaries)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            for line, names in lines.search():
                for name in names:
                    found.setdefault(name, set()).add(line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


@dataclass
class _CommandLines:
    """A repeated search of every process's command line.

    A process is read in each turn when it is new, as it may still execute its program, and in every
    tenth turn later. A line is searched once, and again when there are more secrets.
    """

    canaries: Canaries
    turns: dict[str, int] = field(default_factory=dict[str, int])
    searched: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def search(self) -> Iterator[tuple[str, set[str]]]:
        """Yield the lines that contain secrets, with the names of these."""
        pids = (each.name for each in Path("/proc").iterdir() if each.name.isdigit())
        self.turns = {pid: self.turns.get(pid, 0) + 1 for pid in pids}
        for pid, turn in self.turns.items():
            if turn > _NEW_TURNS and turn % _NEW_TURNS:
                continue
            with suppress(OSError):
                line = Path("/proc", pid, "cmdline").read_bytes()
                count = len(self.canaries.known)
                if self.searched.get(line) == count:
                    continue
                yield line.replace(b"\0", b" ").decode(errors="replace"), self.canaries.among(line)
                self.searched[line] = count


def in_environments(canaries: Canaries, *folders: Path) -> Mapping[str, set[str]]:
    """Return the secrets in the environment of each process that holds one of the folders."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for pid, name in processes.users(folder).items():
            with suppress(OSError):
                found[name] = canaries.among(Path("/proc", str(pid), "environ").read_bytes())
    return found
