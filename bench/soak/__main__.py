"""`python -m bench.soak`: reads the options and the environment, prints how it goes, writes the page."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from bench.failures import BenchFailed
from bench.soak.page import page, screen
from bench.soak.picture import picture
from bench.soak.result import Plan
from bench.soak.run import soak
from tollway_operator.envoy.binary import EnvoyNotFoundError


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Calls at half of the highest rate while processes die, and the books afterwards.",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (%(default)g)")
    parser.add_argument("--kill-every", type=float, default=60.0, metavar="SECONDS", help="(%(default)g)")
    parser.add_argument("--watch-every", type=float, default=10.0, metavar="SECONDS", help="(%(default)g)")
    parser.add_argument("--calibrate", type=float, default=10.0, metavar="SECONDS", help="(%(default)g)")
    parser.add_argument("--page", type=Path, default=Path("docs/soak.md"), help="what is written (%(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/soak.svg"), help="and (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("soak-result.json"), help="and, as JSON (%(default)s)")
    return parser.parse_args()


def main() -> int:
    options = _options()
    plan = Plan(options.minutes * 60, options.kill_every, options.watch_every, options.calibrate)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="tw-soak-") as directory:
            soaked = asyncio.run(soak(plan, Path(directory), dict(os.environ), console.print))
    except (BenchFailed, EnvoyNotFoundError) as failure:
        print(f"soak: {failure}", file=sys.stderr)
        return 1
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(soaked), indent=1) + b"\n")
    options.page.write_text(page(soaked, options.picture, options.page))
    options.picture.write_text(picture(soaked))
    found = Console(highlight=False)
    (found if found.is_terminal else Console(width=160)).print(screen(soaked))
    return int(not all(verdict.fine for verdict in soaked.verdicts))


if __name__ == "__main__":
    sys.exit(main())
