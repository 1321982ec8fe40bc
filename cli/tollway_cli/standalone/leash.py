"""Runs a command that dies with its parent and leaves no core dump: `python leash.py PARENT-PID COMMAND…`.

The supervisor may be killed -9, and then no Envoy that holds provider keys may stay behind. The kernel does that
(PR_SET_PDEATHSIG), but only the child itself can ask for it. A program of its own rather than a `preexec_fn`: that
would run Python between fork and exec, with whatever locks other threads held. Standard library only: it is started
with `-I -S`.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """Have the kernel kill this process when `parent` is gone. Exits where it is gone already, or not ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit(f"tollway: prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("tollway: the supervisor is gone")


def leave_no_core() -> None:
    """A dump of an Envoy's memory would have keys and prompts in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def take_descriptors() -> None:
    """All that it may have: an Envoy that cannot open one more ends, and many systems begin with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    tie_to(int(sys.argv[1]))
    leave_no_core()
    take_descriptors()
    command = sys.argv[2:]
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own list, no shell
    except OSError as error:
        sys.exit(f"tollway: cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
