"""The store keeps the newest that anybody saw, and tells of changes only."""

from tollway_operator.cluster.kinds import NAMESPACE, POD, Kind
from tollway_operator.watching.facts import Fact, Identity
from tollway_operator.watching.store import Store


def fact(version: int, name: str = "pod", uid: str = "uid") -> Fact:
    return Fact(Identity(name, "space", uid, str(version)))


class Told:
    def __init__(self, store: Store) -> None:
        self.changes: list[tuple[Fact | None, Fact | None]] = []
        store.on_change(self)

    def __call__(self, _kind: Kind, before: Fact | None, after: Fact | None) -> None:
        self.changes.append((before, after))


def test_what_is_older_than_what_is_known_is_nothing_new() -> None:
    store = Store()
    told = Told(store)
    for version in (5, 5, 4, 9, 10):
        store.put(POD, fact(version))
    assert told.changes == [(None, fact(5)), (fact(5), fact(9)), (fact(9), fact(10))]
    assert store.get(POD, Fact, "pod", "space") == fact(10)


def test_what_was_removed_is_gone_but_not_its_successor_of_the_same_name() -> None:
    store = Store()
    store.put(POD, fact(5))
    store.drop(POD, fact(6))
    assert store.get(POD, Fact, "pod", "space") is None
    store.put(POD, fact(9, uid="another"))
    store.drop(POD, fact(7))
    assert store.get(POD, Fact, "pod", "space") == fact(9, uid="another")


def test_a_listing_removes_what_it_does_not_have_but_not_what_came_meanwhile() -> None:
    store = Store()
    store.put(POD, fact(1, "gone"))
    store.put(POD, fact(2, "changed"))
    known = store.all(POD, Fact)
    store.put(POD, fact(8, "changed"))
    store.put(POD, fact(9, "new"))
    store.replace(POD, [fact(3, "listed")], known)
    assert [each.me.name for each in store.all(POD, Fact)] == ["changed", "listed", "new"]


def test_kinds_and_namespaces_are_apart() -> None:
    store = Store()
    store.put(POD, fact(1))
    assert store.all(NAMESPACE, Fact) == []
    assert store.all(POD, Fact, "elsewhere") == []
    assert store.all(POD, Fact, "space") == [fact(1)]
