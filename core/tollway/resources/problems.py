"""What is wrong with a declared object: said once, in one line, with the place and the way out.

Problems travel to terminals, logs and conditions, so they never quote what may be a secret, and quote anything else
escaped and cut.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Path = tuple[str | int, ...]

LONGEST_QUOTE: Final = 60
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `object` is "AIQuota team-a/research", or "document 2" where it cannot be told.

    `path` is the JSON path inside the object, such as `spec.limits[2].cost`; empty for the object as a whole.
    """

    file: str
    object: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.object, self.path, self.message) if part)


def quoted(text: str) -> str:
    """`text` as it may stand in a sentence: in quotes, escaped, cut."""
    cut = text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"
    return json.dumps(cut)


def json_path(path: Path) -> str:
    """`("spec", "limits", 2, "cost")` as `spec.limits[2].cost`."""
    return "".join(_step(step) for step in path).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_KEY.fullmatch(step) else f"[{quoted(step)}]"


def capped(problems: Sequence[Problem], most: int) -> tuple[Problem, ...]:
    """The first `most` problems, and one line on how many more there are."""
    if len(problems) <= most:
        return tuple(problems)
    rest = Problem("", "", "", f"and {len(problems) - most} more problems: mend these first")
    return (*problems[:most], rest)
