"""Shows what the checks said: a line per check, under it each finding and what mends it; or JSON."""

from collections.abc import Iterator, Sequence
from typing import Final

from tollway_cli.doctor.findings import Checked, Finding, Result, is_well
from tollway_cli.views.output import Form, show

_MARKS: Final = {Result.FINE: "✓", Result.HINT: "!", Result.WRONG: "✗", Result.UNKNOWN: "?"}


def show_diagnosis(checked: Sequence[Checked], form: Form, of: str = "") -> None:
    """`of` says whose, where that is not plain."""
    show(as_json(checked), form, lambda: [*([of] if of else ()), *_lines(checked)])


def as_json(checked: Sequence[Checked]) -> dict[str, object]:
    return {
        "ok": is_well(checked),
        "checks": [
            {"name": each.name, "result": each.result, "findings": list(map(_finding, each.findings))}
            for each in checked
        ],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "level": finding.level,
        "object": finding.object,
        "message": finding.message,
        "mend": finding.mend,
    }


def _lines(checked: Sequence[Checked]) -> Iterator[str]:
    for each in checked:
        yield f"{_MARKS[each.result]} {each.name}" + (" (cannot be seen)" if each.result is Result.UNKNOWN else "")
        for finding in each.findings:
            yield f"    {finding.object}: {finding.message}"
            yield f"      → {finding.mend}"
    wrong = sum(each.result is Result.WRONG for each in checked)
    yield "All is well." if not wrong else f"{wrong} of {len(checked)} checks found something wrong."
