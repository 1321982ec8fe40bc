"""Every fuzzing target on its seeds and on all that ever broke one: targets do not rot, and bugs stay mended."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import CASES, NAMES, kept, load

ROOT = Path(__file__).parents[2]
KEPT = [pytest.param(name, case.read(), id=f"{name}-{case.path.name}") for name in NAMES for case in kept(name)]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_target_s_seeds_breaks_it(name: str) -> None:
    target = load(name)
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.check(seed)


@pytest.mark.parametrize(("name", "case"), KEPT)
def test_what_broke_a_target_once_breaks_it_no_more(name: str, case: bytes) -> None:
    load(name).check(case)


def test_every_kept_case_is_of_a_target_and_says_what_it_is() -> None:
    assert {path.name for path in CASES.iterdir() if any(path.iterdir())} <= set(NAMES)
    unnamed = [case.path for name in NAMES for case in kept(name) if case.path.name.startswith(("crash-", "timeout-"))]
    assert unnamed == [], "mend what broke, and name the file after it"


def test_a_target_that_is_not_there_is_said_to_be_none() -> None:
    command = [sys.executable, "-m", "fuzz", "--target", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "http2" in done.stderr) == (2, True)
