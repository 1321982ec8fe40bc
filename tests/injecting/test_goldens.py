"""Pods and what comes of them: what is expected lies beside what is given."""

from pathlib import Path

import pytest

from injecting.injection import as_yaml, patched, read
from injecting.standard import violations
from tollway_operator.injecting.outcomes import Patched
from tollway_operator.injecting.patching import inject

INPUTS = sorted(Path(__file__).parent.glob("**/*.in.yaml"))


PATCHED = [path for path in INPUTS if isinstance(read(path).outcome(), Patched)]


@pytest.fixture(params=INPUTS, ids=lambda path: path.name.removesuffix(".in.yaml"))
def given(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_the_outcome_is_the_expected_one(given: Path, update_golden: bool) -> None:
    expected = given.with_name(given.name.replace(".in.yaml", ".out.yaml"))
    outcome = as_yaml(read(given).outcome())
    if update_golden:
        expected.write_text(outcome)
    assert outcome == expected.read_text(), "if this is meant: pytest tests/injecting --update-golden"


@pytest.mark.parametrize("path", PATCHED, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_what_is_patched_needs_no_second_patch_and_breaks_no_standard(path: Path) -> None:
    case = read(path)
    outcome = case.outcome()
    assert isinstance(outcome, Patched)
    result = patched(case.pod, outcome.patch)
    again = inject(result, case.namespace, case.settings)
    assert isinstance(again, Patched)
    assert not again.patch
    assert set(violations(result)) <= set(violations(case.pod))
