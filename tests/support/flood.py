"""A flood of look-ups of tokens that were never issued: `python -m tests.support.flood SOCKET`.

The tokens are well formed, and tagged with the edge key of the tests: only a look-up can reveal
that they were never issued.
"""

import os
import socket
import sys
import threading
from itertools import count

from tests.support.sidecar import EDGE_KEY

from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind.wire.socket_protocol import Look, encode_request
from rescind_runtime import ready_line

_AT_ONCE = 512


def main(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        threading.Thread(target=_swallow, args=[connection], daemon=True).start()
        ready_line.announce(pid=os.getpid())
        for number in count():
            looks = (Look(number, _mint()) for _ in range(_AT_ONCE))
            connection.sendall(b"".join(encode_request(look) for look in looks))


def _swallow(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass


def _mint() -> str:
    return token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=EDGE_KEY).reveal()


if __name__ == "__main__":
    main(sys.argv[1])
