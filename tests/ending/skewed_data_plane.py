"""The data plane on a machine whose clock was set: it is wrong by the milliseconds in a file beside the ledger."""

import sys
import time
from pathlib import Path

from tollway_extauthz.__main__ import main

CLOCK = Path(sys.argv[sys.argv.index("--settings") + 1]).parent.parent / "clock-of-extauthz"
true_time = time.time_ns


def set_time() -> int:
    return true_time() + int(CLOCK.read_text()) * 1_000_000


if __name__ == "__main__":
    time.time_ns = set_time
    sys.exit(main())
