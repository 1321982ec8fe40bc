from pathlib import Path

import pytest

from e2e.installation import Installation
from e2e.stage import apply, exists, refusal, until

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def told(installation: Installation) -> None:
    """The Secret is there to be stolen."""
    apply(HERE.parent / "two_teams" / "story.yaml")
    until(lambda: exists("secret", "tollway-svid-writer", "team-b"), "no SVID")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_pod_that_reaches_for_what_is_not_its_own_is_refused_with_the_reason(case: Path) -> None:
    said = refusal(case)
    assert "tollway" in said.lower()
    assert "denied" in said.lower() or "forbidden" in said.lower()
    assert not exists("pod", "thief", "team-b")
