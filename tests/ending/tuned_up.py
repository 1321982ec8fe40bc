"""`tollway up` with times that a test can wait for, and perhaps with a data plane that dies when told to.

`python tuned_up.py up --config DIR --state DIR --ready-file FILE --tuning JSON`
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

from tollway_cli.standalone.tuning import Tuning
from tollway_cli.standalone.up import UpOptions, up


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up"])
    for name in ("--config", "--state", "--ready-file"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--tuning", type=json.loads, default={})
    arguments = parser.parse_args()
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
    up(options, lambda: time.time_ns() // 1_000_000, random.random)


if __name__ == "__main__":
    sys.exit(main())
