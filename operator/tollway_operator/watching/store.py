"""The cluster as the operator sees it: the facts of every watched object, always the newest version that was seen.

Three feed it: the watches, the listings, and the answers to our own writes (so that nobody decides twice from what was
before a write). One thread only.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tollway_operator.cluster.kinds import Kind
from tollway_operator.watching.facts import Fact

F = TypeVar("F", bound=Fact)
Changed = Callable[[Kind, Fact | None, Fact | None], None]
"""The kind, what was known before, and what is known now."""


class Store:
    """`changed` is told of every object that came, went, or is another version than before."""

    def __init__(self) -> None:
        self._facts: defaultdict[Kind, dict[str, dict[str, Fact]]] = defaultdict(dict)
        self._changed: list[Changed] = []

    def on_change(self, changed: Changed) -> None:
        self._changed.append(changed)

    # Reading

    def get(self, kind: Kind, of: type[F], name: str, namespace: str = "") -> F | None:
        found = self._facts[kind].get(namespace, {}).get(name)
        return found if isinstance(found, of) else None

    def all(self, kind: Kind, of: type[F], namespace: str | None = None) -> Sequence[F]:
        """By name; of one namespace, or of all by namespace."""
        spaces = self._facts[kind]
        chosen = sorted(spaces) if namespace is None else [namespace]
        found = (spaces.get(space, {}) for space in chosen)
        return [fact for facts in found for _, fact in sorted(facts.items()) if isinstance(fact, of)]

    # Feeding

    def put(self, kind: Kind, fact: Fact) -> None:
        """An object as somebody saw it; older than what is known, it is nothing new."""
        space = self._facts[kind].setdefault(fact.me.namespace, {})
        before = space.get(fact.me.name)
        if before is not None and not _is_newer(fact, before):
            return
        space[fact.me.name] = fact
        self._tell(kind, before, fact)

    def drop(self, kind: Kind, fact: Fact) -> None:
        """An object that was seen to go."""
        space = self._facts[kind].get(fact.me.namespace, {})
        before = space.get(fact.me.name)
        if before is None or (before.me.uid != fact.me.uid and _is_newer(before, fact)):
            return
        del space[fact.me.name]
        self._tell(kind, before, None)

    def replace(self, kind: Kind, facts: Iterable[Fact], known_before: Iterable[Fact]) -> None:
        """A listing. Of what was known before it was taken, what is not in it and has not changed since is gone."""
        listed = {(fact.me.namespace, fact.me.name): fact for fact in facts}
        for fact in listed.values():
            self.put(kind, fact)
        for fact in known_before:
            here = (fact.me.namespace, fact.me.name)
            if here not in listed and self._facts[kind].get(here[0], {}).get(here[1]) is fact:
                self.drop(kind, fact)

    def _tell(self, kind: Kind, before: Fact | None, after: Fact | None) -> None:
        for changed in self._changed:
            changed(kind, before, after)


def _is_newer(fact: Fact, than: Fact) -> bool:
    """Kubernetes orders the versions of a kind's objects: they are numbers that grow."""
    mine, other = fact.me.resource_version, than.me.resource_version
    return not (mine.isdigit() and other.isdigit()) or int(mine) > int(other)
