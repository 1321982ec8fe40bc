"""The size a call is granted, against trying every size."""

from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.builders import counter
from tollway.ledger.arithmetic import Line, Use, granted_size, short_lines
from tollway.ledger.port import Demand, Policy, Sizes

POLICY = Policy()
amounts = st.integers(min_value=0, max_value=400)
lines_of_any_kind = st.lists(
    st.builds(
        Line,
        st.builds(
            Demand,
            st.just(counter("any")),
            limit=amounts,
            base=st.integers(min_value=0, max_value=60_000),
            rate=st.sampled_from([0, 1, 333, 1000, 1001, 2500, 7000]),
            rigid=st.booleans(),
            shadow=st.booleans(),
        ),
        st.builds(Use, st.integers(min_value=0, max_value=200), st.integers(min_value=0, max_value=200)),
    ),
    max_size=4,
)
any_sizes = st.tuples(amounts, amounts).map(lambda pair: Sizes(min(pair), max(pair)))


def takes(line: Line, size: int) -> int:
    return ceil((line.demand.base + line.demand.rate * size) / 1000)


def room(line: Line) -> int:
    return max(0, line.demand.limit - line.use.used - line.use.held)


def tried(lines: list[Line], sizes: Sizes) -> int | None:
    """The rule of elastic holds, by trying every size from the largest down."""
    enforced = [line for line in lines if not line.demand.shadow]
    elastic = [line for line in enforced if line.demand.rate]
    if all(takes(line, sizes.most) <= room(line) // (8 if line.demand.rate else 1) for line in enforced):
        return sizes.most
    for size in range(sizes.most, sizes.useful - 1, -1):
        shrinking = [line for line in elastic if not line.demand.rigid]
        modest = all(takes(line, size) <= room(line) // 4 for line in shrinking) or size == sizes.useful
        held = [sizes.most if line.demand.rigid else size for line in enforced]
        if modest and all(takes(line, at) <= room(line) for line, at in zip(enforced, held, strict=True)):
            return size
    return None


@settings(max_examples=400)
@given(lines=lines_of_any_kind, sizes=any_sizes)
def test_the_granted_size_is_the_largest_that_the_rule_allows(lines: list[Line], sizes: Sizes) -> None:
    assert granted_size(lines, sizes, POLICY) == tried(lines, sizes)


@given(lines=lines_of_any_kind, sizes=any_sizes)
def test_a_call_is_refused_exactly_when_some_line_is_short(lines: list[Line], sizes: Sizes) -> None:
    assert (granted_size(lines, sizes, POLICY) is None) == bool(short_lines(lines, sizes))


@given(lines=lines_of_any_kind, sizes=any_sizes)
def test_a_granted_size_fits_every_enforced_line(lines: list[Line], sizes: Sizes) -> None:
    size = granted_size(lines, sizes, POLICY)
    enforced = [line for line in lines if not line.demand.shadow]
    assert size is None or all(takes(line, size) <= room(line) for line in enforced)
