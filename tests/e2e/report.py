"""What a run of all stories measured: a table for the terminal, and docs/e2e.md."""

from pathlib import Path
from typing import Final

from e2e.installation import Installation
from e2e.stage import ROOT

PAGE: Final = ROOT / "docs" / "e2e.md"
_HEAD: Final = """\
# On a real node

`make e2e` tells the stories of `tests/e2e` on the cluster that KUBECONFIG names. This page is what its last full run
measured, written by that run; the machine was small and busy, so read it for orders of magnitude.

"""


def rows(done: Installation) -> list[tuple[str, str]]:
    timed = [(f"from `helm install`: {step}", f"{seconds:.0f} s") for step, seconds in done.seconds.items()]
    return [*timed, *done.figures.items()]


def table(done: Installation) -> str:
    found = rows(done)
    width = max((len(name) for name, _ in found), default=0)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in found)


def written(done: Installation, page: Path = PAGE) -> None:
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows(done))
    page.write_text(f"{_HEAD}| what | measured |\n|---|---|\n{lines}\n")
