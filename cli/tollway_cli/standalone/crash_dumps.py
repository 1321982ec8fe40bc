"""What an Envoy that crashes says of the call it was at: its headers, with the provider's key, and bytes of its body.

It writes that to its log as its last words, and nothing turns it off. None of it may stay there, or be shown.
"""

import re
import signal
from pathlib import Path
from typing import Final

CRASHES: Final = frozenset(
    {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGTRAP}
)
"""Return codes of a process that wrote such words."""
_OWN_LINE: Final = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\]\[\d+\]\[[a-z]+\]")
"""How a line of Envoy's own log begins. What it says of a call, it says without."""
_CUT: Final = b"(lines about the call it was at were taken out)\n"


def take_out(log: Path, since: int) -> None:
    """Of what a crashed Envoy wrote after the first `since` bytes of its log, keep its own lines only.

    Raises `OSError`; then the words may still be there.
    """
    with log.open("r+b") as file:
        file.seek(since)
        lines = file.readlines()
        kept = [line for line in lines if _OWN_LINE.match(line)]
        if len(kept) == len(lines):
            return
        file.seek(since)
        file.writelines([*kept, _CUT])
        file.truncate()
