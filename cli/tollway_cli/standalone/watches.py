"""Whether files can still be watched for changes.

An Envoy watches its files through inotify, five instances a sidecar and more at the gateway. A user usually has 128,
for everything that runs: an Envoy that gets none aborts as it starts, and says nothing that anybody could understand.
"""

import ctypes
import errno
import os
from typing import Final

EXHAUSTED: Final = (
    "this user has no inotify instance left, and an Envoy takes five or more: end what is not needed, or allow more by "
    "`sudo sysctl fs.inotify.max_user_instances=1024`"
)


def is_one_left() -> bool:
    """Take an instance, as an Envoy does, and give it back."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return ctypes.get_errno() != errno.EMFILE
    os.close(descriptor)
    return True
