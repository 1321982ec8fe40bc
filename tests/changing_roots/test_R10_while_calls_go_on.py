"""R10: the root is changed under calls that each make a connection of their own, and no handshake fails.

The gateway, and the sidecar of one of two agents, see every new trust bundle seconds later than everybody else.
"""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from changing_roots.calling import Calls
from installations import Installation, agent, provider, quota, running, secret, wait_until
from tollway_cli.standalone.root_changing import read_stands

PROGRAM = Path(__file__).with_name("paced_up.py")
AGENTS = ("team-a/prompt", "team-a/late")


class Paced(Installation):
    program = (str(PROGRAM),)


@contextlib.contextmanager
def fast(*arguments: str) -> Iterator[Installation]:
    limits = quota("wide", {"name": "tokens", "tokens": 1_000_000_000, "window": "Lifetime"})
    resources = [agent("prompt"), agent("late"), provider(), secret(), limits]
    with running(resources, arguments=arguments, kind=Paced) as (installation, _):
        yield installation


def phase(installation: Installation) -> str:
    stands = read_stands(installation.state)
    return stands.phase if stands is not None else "None"


def goes_to(installation: Installation, *phases: str) -> None:
    def describe() -> str:
        return (
            f"it is {phase(installation)}: {read_stands(installation.state)}\n{installation.output.read_text()[-2000:]}"
        )

    wait_until(lambda: phase(installation) in phases, 90, describe)


def activate(installation: Installation) -> None:
    """It is refused until the new root was trusted for a moment."""
    wait_until(lambda: bool(installation.tollway("root", "activate", codes=(0, 1))), 60)


def calling(installation: Installation, per_second: int = 200) -> Calls:
    urls = [installation.base_url(name) for name in AGENTS]
    return Calls(urls, lambda: phase(installation), per_second)


def has_all(calls: Calls, phases: tuple[str, ...]) -> Callable[[], bool]:
    return lambda: bool(calls.failures) or all(calls.answered[each] for each in phases)


def test_R10_no_call_fails_in_any_phase_of_a_change_of_the_root() -> None:
    with fast("--late", "4") as installation, calling(installation) as calls:
        before = roots(installation)
        wait_until(has_all(calls, ("None",)), 30)
        installation.tollway("root", "prepare")
        goes_to(installation, "Trusted")
        activate(installation)
        goes_to(installation, "Draining")
        goes_to(installation, "None")
        after = roots(installation)
    assert calls.failures == [], calls.failures[:3]
    print(calls.answered)  # noqa: T201
    assert all(calls.answered[each] for each in ("None", "Prepared", "Trusted", "Active", "Draining")), calls.answered
    assert len(before) == len(after) == 1
    assert before != after


def test_R10_without_the_wait_for_trust_the_same_calls_fail() -> None:
    with fast("--late", "25", "--impatient") as installation, calling(installation) as calls:
        wait_until(has_all(calls, ("None",)), 30)
        assert calls.failures == []
        installation.tollway("root", "prepare")
        activate(installation)
        wait_until(lambda: bool(calls.failures), 60)
    assert {phase for phase, _ in calls.failures} <= {"Active", "Draining"}, calls.failures[:3]


def roots(installation: Installation) -> list[str]:
    """The roots that everybody is shown, as their keys."""
    bundle = json.loads((installation.state / "gateway/identity/bundle.json").read_text())
    keys = itertools.chain.from_iterable(each["keys"] for each in bundle["trust_domains"].values())
    return [key["x"] for key in keys]
