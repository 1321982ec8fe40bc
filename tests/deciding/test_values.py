"""Values made for every call behave as frozen dataclasses do, but for the guard that type checkers stand in for."""

import pickle
from dataclasses import asdict, replace

from tollway.deciding.rulebook import Caller
from tollway.values import value


@value(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


@value(frozen=True, slots=True)
class Named:
    name: str
    note: str = ""

    def __hash__(self) -> int:
        return hash(self.name)


def test_equal_values_are_one_key() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 1)
    assert {Point(1): "a"}[Point(1)] == "a"


def test_a_value_can_be_replaced_listed_and_sent_to_another_process() -> None:
    assert replace(Point(1), y=2) == Point(1, 2)
    assert asdict(Point(1, 2)) == {"x": 1, "y": 2}
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_a_hash_of_its_own_stays() -> None:
    assert hash(Named("a", "b")) == hash("a")
    assert Named("a", "b") != Named("a")


def test_callers_of_one_identity_are_told_apart_though_their_hashes_are_equal() -> None:
    first, second = (
        Caller("spiffe://td/ns/a/sa/b", "a", "b", None, on_behalf_of=chain) for chain in ((), ("someone",))
    )
    assert hash(first) == hash(second)
    assert first != second
