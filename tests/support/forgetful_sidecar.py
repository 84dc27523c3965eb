"""A sidecar with a seeded bug, as a control: it moves its position, but changes no slot.

python -m tests.support.forgetful_sidecar
"""

import runpy

from rescind.core.generation_table import Writer


def _only_move(self: Writer, anchor: str, *, applied: int) -> None:
    del anchor
    self.start_at(applied)


if __name__ == "__main__":
    Writer.bump = _only_move  # type: ignore[method-assign]  # that is the bug
    runpy.run_module("rescind_sidecar", run_name="__main__")
