"""A pseudo-terminal for a process under test, and what the process shows on it."""

import contextlib
import os
import pty
import termios
from collections.abc import Generator

_CHUNK_BYTES = 65_536


class PseudoTerminal:
    """The two ends of a pseudo-terminal. `process_end` is for the stdin, stdout or stderr."""

    def __init__(self, *, columns: int | None = None) -> None:
        self._test_end, self.process_end = pty.openpty()
        self._open = {self._test_end, self.process_end}
        if columns is not None:
            termios.tcsetwinsize(self.process_end, (24, columns))

    def write(self, text: str) -> None:
        """Type a text."""
        os.write(self._test_end, text.encode())

    def read_until(self, text: str) -> str:
        """Return what the process shows, until it contains a text.

        Call this once the process runs: its end is closed here, so that its exit ends the output.
        Raises OSError if the process ends before.
        """
        self._close(self.process_end)
        shown = b""
        while text.encode() not in shown:
            shown += os.read(self._test_end, _CHUNK_BYTES)
        return shown.decode()

    def read_rest(self) -> str:
        """Return what the process shows until it ends. Call this once the process runs."""
        self._close(self.process_end)
        shown = b""
        with contextlib.suppress(OSError):  # the process has closed its end
            while chunk := os.read(self._test_end, _CHUNK_BYTES):
                shown += chunk
        return shown.decode()

    def close(self) -> None:
        """Close the ends that are still open."""
        for end in tuple(self._open):
            self._close(end)

    def _close(self, end: int) -> None:
        if end in self._open:
            self._open.remove(end)
            os.close(end)


@contextlib.contextmanager
def opened(*, columns: int | None = None) -> Generator[PseudoTerminal]:
    """Open a pseudo-terminal for the block."""
    terminal = PseudoTerminal(columns=columns)
    try:
        yield terminal
    finally:
        terminal.close()
