"""After a fork a child shares its parent's table, and no lock, connection or entry (model/fork.py).

The child's side of a fork runs here in the same process, on a verifier whose every lock is held, as
if by threads that the child does not have.
"""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rescind import Verifier
from rescind.client.holds.hold import Hold
from rescind.client.sidecar_connection import SidecarConnection
from rescind.client.table_reader import MappedTable
from rescind.client.transport import BlockingConnection
from rescind.core.generation_table import Writer, size_bytes
from rescind.core.verdict import CheckRequest
from rescind.wire.socket_protocol import Greeting

SLOTS = 16
INSTANCE = bytes(range(16))
LOCK = type(threading.Lock())
RLOCK = type(threading.RLock())
_OPAQUE = (type, ModuleType, str, bytes, int, float, memoryview, Path, MappedTable)


@pytest.fixture
def table(tmp_path: Path) -> MappedTable:
    path = tmp_path / "search.table"
    octets = bytearray(size_bytes(SLOTS))
    Writer(memoryview(octets).cast("Q"), instance=INSTANCE, boot=bytes(16), slots=SLOTS)
    path.write_bytes(octets)
    return MappedTable.open(path)


@pytest.fixture
def verifier(table: MappedTable, tmp_path: Path) -> Verifier:
    greeting = Greeting("search", INSTANCE, bytes(16), "strict")
    path = tmp_path / "search.sock"
    connection = SidecarConnection(path, greeting, table, timeout_s=0.25, most_entries=10)
    return Verifier(connection, audience=None)


def reachable(root: object) -> Iterator[object]:
    """Yield everything that an object holds, however deep, but what is shared on purpose."""
    seen: set[int] = set()
    left = [root]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, _OPAQUE):
            continue
        seen.add(id(found))
        yield found
        match found:
            case dict():
                left += [*found.keys(), *found.values()]
            case list() | tuple() | set() | frozenset():
                left += list(found)
            case _ if callable(found) and (closure := getattr(found, "__closure__", None)):
                left += [cell.cell_contents for cell in closure]
            case _ if type(found).__module__.startswith("rescind."):
                left += list(getattr(found, "__dict__", {}).values())
                slots = {name for each in type(found).__mro__ for name in _slots(each)}
                left += [getattr(found, name) for name in slots if hasattr(found, name)]
            case _:
                pass


def _slots(kind: type) -> tuple[str, ...]:
    slots: Any = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def locks(root: object) -> list[Any]:
    return [each for each in reachable(root) if isinstance(each, (LOCK, RLOCK))]


def connected() -> tuple[BlockingConnection, socket.socket]:
    """Make a connection, and the sidecar's end of it."""
    ours, theirs = socket.socketpair()
    connection = BlockingConnection.__new__(BlockingConnection)
    connection._socket = ours
    return connection, theirs


def test_a_child_has_none_of_its_parents_locks_and_all_of_its_own_are_free(
    verifier: Verifier,
) -> None:
    before = locks(verifier)
    assert len(before) >= 3  # of the verifier, its connection and its watch, at least
    for lock in before:
        assert lock.acquire(blocking=False)
    verifier._reset_after_fork()
    after = locks(verifier)
    assert len(after) == len(before)
    assert not {id(lock) for lock in after} & {id(lock) for lock in before}
    for lock in after:
        assert lock.acquire(blocking=False)
    for lock in (*before, *after):
        lock.release()


def test_a_child_has_the_table_and_nothing_else_of_its_parents_session(
    verifier: Verifier, table: MappedTable
) -> None:
    parents = verifier._connection
    parents._entries["token"] = entry = object()  # type: ignore[assignment]  # none is looked at
    connection, theirs = connected()
    parents._pool.adopt(connection)
    verifier._reset_after_fork()
    child = verifier._connection
    assert child is not parents
    assert child.table is table
    assert (child.instance, child.path, child.service) == (INSTANCE, parents.path, "search")
    found = list(map(id, reachable(child)))
    shared = (parents._entries, parents._request_numbers, parents._pool, parents._loops)
    for left_behind in (entry, connection, parents, *shared):
        assert id(left_behind) not in found
    theirs.close()


def test_a_child_closes_its_copy_of_a_connection_and_its_parents_stays_open(
    verifier: Verifier,
) -> None:
    connection, theirs = connected()
    parents = socket.socket(fileno=os.dup(connection._socket.fileno()))  # what the parent keeps
    verifier._connection._pool.adopt(connection)
    verifier._reset_after_fork()
    assert connection._socket.fileno() == -1
    parents.sendall(b"still there")
    assert theirs.recv(64) == b"still there"
    theirs.sendall(b"here too")
    assert parents.recv(64) == b"here too"
    parents.close()
    theirs.close()


def test_a_child_watches_only_the_work_of_the_thread_that_forked(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def start(thread: threading.Thread) -> None:
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    mine, others, of_a_loop = (Hold(verifier._holds, CheckRequest("token")) for _ in range(3))
    mine.thread, others.thread = threading.get_ident(), threading.get_ident() + 1
    for hold in (mine, others, of_a_loop):
        verifier._holds.add(hold)
    verifier._reset_after_fork()
    assert verifier._holds._registered == {mine}
    assert len(started) == 2  # the parent's thread, and one that the child has of its own
