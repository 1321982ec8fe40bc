"""`tollway up` with times that a test can wait for, and perhaps with a data plane that dies when told to.

`python tuned_up.py up --config DIR --state DIR --ready-file FILE --tuning JSON [--without-override] [--clock]`

`--without-override`: what may not be written is not written, also by root. `--clock`: its clock is wrong by the
milliseconds in the file `clock` of the state directory, read at each look.
"""

import argparse
import ctypes
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tollway_cli.failures import CommandFailed
from tollway_cli.standalone.tuning import Tuning
from tollway_cli.standalone.up import UpOptions, up

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1


def without_override() -> None:
    """None of its processes may write to what nobody may write to. Who is not root could not anyway."""
    if os.getuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
        sys.exit("cannot drop CAP_DAC_OVERRIDE")


def clock_of(wrong_by: Path | None) -> Callable[[], int]:
    def clock() -> int:
        return time.time_ns() // 1_000_000 + (int(wrong_by.read_text()) if wrong_by is not None else 0)

    return clock


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up"])
    for name in ("--config", "--state", "--ready-file"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--tuning", type=json.loads, default={})
    parser.add_argument("--without-override", action="store_true")
    parser.add_argument("--clock", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_override:
        without_override()
    os.umask(0o077)
    # Where the data plane of a test is found.
    found = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    options = UpOptions(
        config=arguments.config,
        state=arguments.state,
        ready_file=arguments.ready_file,
        environ={**os.environ, "PYTHONPATH": found},
        tuning=Tuning(**arguments.tuning),
    )
    try:
        up(options, clock_of(arguments.state / "clock" if arguments.clock else None), random.random)
    except CommandFailed as failure:
        print(f"tollway: {failure}", file=sys.stderr)  # noqa: T201
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    sys.exit(main())
