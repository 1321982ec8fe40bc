"""One installation for all tests of a file that leave it as it was.

Not for the whole session: each process of the tests would hold one to its end, and Envoys take of what a user has few
of.
"""

from collections.abc import Iterator

import pytest

from installations import agent, budget, quota
from withstanding.ground import Ground
from withstanding.ground import ground as a_ground


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """`caller` has plenty, `poor` cannot pay for any call, `short` for none that is long, `frozen` is suspended."""
    with a_ground(
        agent("poor"),
        agent("short"),
        agent("frozen", suspended=True),
        quota("nothing", budget("0.0000001"), only="poor"),
        quota("little", {"name": "words", "outputTokens": 400, "window": "Lifetime"}, only="short"),
    ) as ground:
        yield ground
