"""The picture of a soak: calls, memory and file descriptors over time, faults as grey lines through all of them."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from bench.soak.page import CALLED
from bench.soak.result import Soaked
from bench.soak.watching import Look

_WIDTH: Final = 760
_LEFT: Final = 60
_CHART: Final = 120
_GAP: Final = 46
_COLOURS: Final = {EXTAUTHZ: "#c0392b", GATEWAY: "#2471a3", SIDECAR: "#1e8449", SUPERVISOR: "#7d3c98"}

_Points = Sequence[tuple[float, float]]


def picture(soaked: Soaked) -> str:
    charts: Sequence[tuple[str, dict[str, _Points]]] = (
        ("calls a second", {"": _by_ten_seconds(soaked.ended)}),
        ("private memory, MB", _lines_of(soaked, lambda each: each.private / 1e6)),
        ("file descriptors", _lines_of(soaked, lambda each: float(each.files))),
    )
    step = _CHART + _GAP
    height = len(charts) * step + 30
    box = f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11"'
    parts = [part for number, chart in enumerate(charts) for part in _chart(soaked, 30 + number * step, *chart)]
    ground = f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join((head, ground, *parts, *_legend(height), "</svg>\n"))


def _by_ten_seconds(ended: Sequence[tuple[float, int]]) -> _Points:
    sums: dict[int, int] = {}
    for at, number in ended:
        sums[int(at // 10)] = sums.get(int(at // 10), 0) + number
    whole = sorted(sums)[:-1] or sorted(sums)
    return [(ten * 10 + 5, sums[ten] / 10) for ten in whole]


def _lines_of(soaked: Soaked, of: Callable[[Look], float]) -> dict[str, _Points]:
    return {name: [(each.at, of(each)) for each in looks] for name, looks in soaked.looks.items()}


def _chart(soaked: Soaked, top: int, title: str, lines: dict[str, _Points]) -> Iterator[str]:
    most = max((value for points in lines.values() for _, value in points), default=1.0) * 1.1 or 1.0
    right, bottom = _WIDTH - 20, top + _CHART

    def x(at: float) -> float:
        return _LEFT + (right - _LEFT) * min(1.0, at / soaked.plan.seconds)

    def y(value: float) -> float:
        return bottom - _CHART * value / most

    yield f'<text x="{_LEFT}" y="{top - 8}" font-weight="bold">{escape(title)}</text>'
    for each in soaked.aftermaths:
        at, name = f"{x(each.fault.at):.1f}", escape(each.fault.name)
        yield f'<line x1="{at}" y1="{top}" x2="{at}" y2="{bottom}" stroke="#ddd"><title>{name}</title></line>'
    yield f'<path d="M{_LEFT} {top}V{bottom}H{right}" fill="none" stroke="#888"/>'
    yield f'<text x="{_LEFT - 6}" y="{top + 8}" text-anchor="end">{most:.0f}</text>'
    yield f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
    yield f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{soaked.plan.seconds / 60:g} min</text>'
    for name, points in lines.items():
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        yield f'<polyline points="{path}" fill="none" stroke="{_COLOURS.get(name, "#333")}" stroke-width="1.5"/>'


def _legend(height: int) -> Iterator[str]:
    for number, (name, called) in enumerate(CALLED.items()):
        at = _LEFT + number * 150
        yield f'<rect x="{at}" y="{height - 18}" width="12" height="4" fill="{_COLOURS[name]}"/>'
        yield f'<text x="{at + 18}" y="{height - 12}">{escape(called.replace("`", ""))}</text>'
    yield f'<text x="{_WIDTH - 20}" y="{height - 12}" text-anchor="end" fill="#888">grey lines: faults</text>'
