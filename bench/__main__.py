"""`python -m bench`: reads the options and the environment, prints the tables, writes the JSON."""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from bench.failures import BenchFailed
from bench.machine import Cores, cores_apart
from bench.report import report
from bench.run import Plan, Result, run
from bench.scenarios import CASES, MEMORY, QUICK, USUAL, USUAL_CASES, Effort
from tollway_operator.envoy.binary import EnvoyNotFoundError

_TABLE_WIDTH: Final = 120


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="The same calls over a bare road of two Envoys and over Tollway; see docs/measuring.md.",
    )
    parser.add_argument("--rounds", type=_positive, help=f"turns of each scenario on each road (usual: {USUAL.rounds})")
    parser.add_argument("--seconds", type=_duration, help=f"of the many callers in a round (usual: {USUAL.seconds:g})")
    parser.add_argument(
        "--calls",
        type=_positive,
        dest="remembered",
        help=f"before memory is read, for the case {MEMORY} (usual: {USUAL.remembered:,})",
    )
    parser.add_argument(
        "--only",
        type=_cases,
        default=USUAL_CASES,
        metavar="CASE,…",
        help=f"of {', '.join(CASES)} (usual: all but {', '.join(set(CASES) - set(USUAL_CASES))})",
    )
    parser.add_argument(
        "--pin",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Envoys and extauthz on one core, callers and provider on the others (usual, where there are two)",
    )
    parser.add_argument("--quick", action="store_true", help="once and briefly, to see that it works; nothing to quote")
    parser.add_argument("--output", type=Path, default=Path("bench-result.json"), help="the JSON (%(default)s)")
    return parser.parse_args()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _cases(text: str) -> Collection[str]:
    if unknown := set(text.split(",")) - set(CASES):
        raise argparse.ArgumentTypeError(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    return text.split(",")


def _duration(text: str) -> float:
    if not 0 < (seconds := float(text)) < 3600:
        raise argparse.ArgumentTypeError("must be above 0 and below an hour")
    return seconds


def _effort(options: argparse.Namespace) -> Effort:
    given = {name: getattr(options, name) for name in ("rounds", "seconds", "remembered")}
    return replace(QUICK if options.quick else USUAL, **{name: it for name, it in given.items() if it is not None})


def _measure(plan: Plan, console: Console) -> Result:
    with tempfile.TemporaryDirectory(prefix="tw-bench-") as directory, console.status("") as status:
        return asyncio.run(run(plan, Path(directory), dict(os.environ), status.update))


def _screen() -> Console:
    """As wide as the terminal; in a file or a pipe as wide as the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=_TABLE_WIDTH)


def main() -> int:
    options = _options()
    try:
        plan = Plan(_effort(options), options.only, cores_apart() if options.pin else Cores())
        result = _measure(plan, Console(stderr=True))
    except (BenchFailed, EnvoyNotFoundError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    console = _screen()
    for part in report(result):
        console.print(part, "", sep="\n", markup=False, highlight=False)
    console.print(f"All of it: {options.output}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
