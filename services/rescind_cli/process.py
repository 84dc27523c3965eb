"""Become one of our services: the command line starts them, it never imports them."""

import os
import sys
from importlib import util
from typing import NoReturn

from rescind.errors import RescindError
from rescind_cli import settings


def become(module: str, *arguments: str) -> NoReturn:
    """Replace this process by `python -m module`, which then gets our signals itself."""
    if util.find_spec(module) is None:
        raise RescindError(f"{module} is not installed: pip install 'rescind[all]'")
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, settings.environment())  # noqa: S606 - no shell is meant
