"""An authority that dies between COMMIT and publishing, once.

    python -m tests.support.crashing_authority

It dies if RESCIND_DATA contains a file `crash-before-publish`, and deletes the file first.
"""

import os
import signal
from pathlib import Path

from rescind.wire.events import Batch
from rescind_authority.__main__ import main
from rescind_authority.usecases.ledger.publisher import Publisher

_publish = Publisher.publish


def _die_first(self: Publisher, batch: Batch) -> None:
    flag = Path(os.environ["RESCIND_DATA"]) / "crash-before-publish"
    if flag.exists():
        flag.unlink()  # the other authorities of this data directory live
        os.kill(os.getpid(), signal.SIGKILL)
    _publish(self, batch)


if __name__ == "__main__":
    Publisher.publish = _die_first  # type: ignore[method-assign]  # that is the crash point
    main()
