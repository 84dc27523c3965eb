"""The workers of the data plane: their start, supervision, restart and stop."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rescind_runtime.processes.child_process import Child, Program

_READY_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 2.0
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 5.0
_STEADY_S = 10.0


class Workers:
    """Keep a number of workers of one program. `on_death` is called for each that died."""

    def __init__(self, program: Program, *, number: int, on_death: Callable[[Child], None]) -> None:
        self._program = program
        self._number = number
        self._on_death = on_death
        self._children: list[Child] = []

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [child.pid for child in self._children]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the workers for the block, which begins when all of them listen.

        Raises ChildError.
        """
        try:
            for _ in range(self._number):
                self._children.append(Child(self._program))
            for child in self._children:
                await child.ready(deadline_s=_READY_DEADLINE_S)
            async with asyncio.TaskGroup() as tasks:
                supervisors = [
                    tasks.create_task(self._supervise(each)) for each in range(self._number)
                ]
                yield
                for task in supervisors:
                    task.cancel()
        finally:
            await self._stop()

    async def _supervise(self, index: int) -> None:
        """Restart a worker whenever it dies, after a pause that doubles while it dies at once."""
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            began_s = loop.time()
            child = self._children[index]
            await child.wait_ended()
            self._on_death(child)
            await child.stop()
            steady = loop.time() - began_s > _STEADY_S
            pause_s = _FIRST_PAUSE_S if steady else min(pause_s * 2, _MAX_PAUSE_S)
            await asyncio.sleep(pause_s)
            self._children[index] = Child(self._program)

    async def _stop(self) -> None:
        for child in self._children:
            child.send_stop_signal()
        for child in self._children:
            await child.stop(deadline_s=_STOP_DEADLINE_S)


def build_program(
    *,
    name: str,
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    inherited: tuple[int, ...] = (),
) -> Program:
    """Return the program of a worker: a module of the sidecar, with its arguments."""
    return Program(
        name=name,
        command=[sys.executable, "-P", "-m", module, *arguments],
        directory=Path.cwd(),
        log=None,
        environment=environment,
        inherited=inherited,
        announces=True,
    )
