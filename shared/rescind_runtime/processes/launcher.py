"""A script of `child_process.py` that becomes another program, which ends with its parent.

    launcher.py PARENT_PID SIGNAL IDENTITY DIRECTORY PROGRAM [ARGUMENT …]

A fresh interpreter does what a `preexec_fn` must not: code between fork and exec deadlocks when
the parent has threads. The order of the steps matters. Changing credentials clears the request for
a signal at the parent's death, so that request follows. The parent may have died before the
request, so its pid is compared last.
"""

import ctypes
import os
import sys
from pathlib import Path

SAME = "same"  # IDENTITY: keep the current user
NAMESPACE = "namespace"  # NAMESPACE:UID: root, in a user namespace in which it has this UID
EXIT_REFUSED = 125  # what `env` and `docker run` use for "not even started"

_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> None:
    """Change the identity, request a signal at the parent's death, and execute the program."""
    parent, number, identity, directory, *command = argv
    try:
        _change_identity(identity)
        os.chdir(directory)
        _call("prctl", _PR_SET_PDEATHSIG, int(number))
        if os.getppid() != int(parent):
            sys.exit(EXIT_REFUSED)
        os.execv(command[0], command)  # noqa: S606 - no shell is what we want
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]} as {identity} in {directory}: {error}\n")
        sys.exit(EXIT_REFUSED)


def _change_identity(identity: str) -> None:
    kind, _, inside = identity.partition(":")
    if kind == SAME:
        return
    if kind == NAMESPACE:
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{inside} {gid} 1", encoding="ascii")
        return
    os.setgroups([])
    os.setgid(int(inside))
    os.setuid(int(kind))


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
