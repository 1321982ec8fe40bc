"""`python -m fuzz`: a campaign on each target, one after the other, and what came of it.

Corpora are kept between runs below `.cache/fuzz`, and begin with each target's seeds and kept cases. An input that
breaks something is kept at once as a case, `fuzz/cases/TARGET/crash-…`, and fails `make test` from then on: mend what
broke, and give the file a name that says what it was.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz.targets import CASES, NAMES, kept, load

_ROOT: Final = Path(__file__).parent.parent
_CORPORA: Final = _ROOT / ".cache" / "fuzz"
_LONGEST_INPUT: Final = 8192
_SLOWEST_S: Final = 25
_MOST_MEMORY_MIB: Final = 2048
_RUNS: Final = re.compile(r"Done (\d+) runs|^#(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    target: str
    runs: int
    sound: bool
    log: Path

    def __str__(self) -> str:
        said = "nothing broke" if self.sound else f"BROKE: see {self.log}"
        return f"{self.target:20} {self.runs:>12,} inputs   {said}"


def main() -> int:
    arguments = _options()
    outcomes = [_campaign(name, arguments.seconds) for name in arguments.target or NAMES]
    return 0 if all(outcome.sound for outcome in outcomes) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Coverage-guided fuzzing of every parser.")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (usual: %(default)s)")
    parser.add_argument("--target", action="append", choices=NAMES, help="only this one; may be given several times")
    return parser.parse_args()


def _campaign(name: str, seconds: int) -> Outcome:
    corpus = _CORPORA / name
    _plant(corpus, [*load(name).seeds(), *(case.read() for case in kept(name))])
    (CASES / name).mkdir(parents=True, exist_ok=True)
    log = corpus.with_suffix(".log")
    print(f"{name}: {seconds} s", flush=True)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "fuzz.campaign", name, str(corpus), *_limits(name, seconds)]
        done = subprocess.run(command, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    outcome = Outcome(name, _runs(log), done.returncode == 0, log)
    print(outcome, flush=True)
    return outcome


def _plant(corpus: Path, seeds: Sequence[bytes]) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:32]).write_bytes(seed)


def _limits(name: str, seconds: int) -> Sequence[str]:
    return (
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST_INPUT}",
        f"-timeout={_SLOWEST_S}",
        f"-rss_limit_mb={_MOST_MEMORY_MIB}",
        f"-artifact_prefix={CASES / name}/",
        "-print_final_stats=1",
    )


def _runs(log: Path) -> int:
    found = _RUNS.findall(log.read_text("utf-8", "replace"))
    return int(found[-1][0] or found[-1][1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
