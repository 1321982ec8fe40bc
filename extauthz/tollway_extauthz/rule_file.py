"""Reads the rule file again and again: what is the same as the last time is not read anew.

With ten thousand identities a change is of one of them, and calls wait for whoever holds the interpreter.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from tollway.resources.models import AgentIdentity, AIProvider, AIQuota, Namespace, ResourceSet, RuleFile

T = TypeVar("T")


class _Texts(msgspec.Struct, frozen=True):
    """A `ResourceSet` of which nothing but its outline is read."""

    agents: list[msgspec.Raw] = []
    providers: list[msgspec.Raw] = []
    quotas: list[msgspec.Raw] = []
    namespaces: list[msgspec.Raw] = []
    enforced: tuple[str, ...] | None = None


class _Outline(msgspec.Struct, frozen=True):
    generation: int
    resources: _Texts


class RuleReader:
    """Not for several threads at once. Secrets are not read: there are none in a rule file."""

    def __init__(self) -> None:
        self._agents = _Kept(AgentIdentity)
        self._providers = _Kept(AIProvider)
        self._quotas = _Kept(AIQuota)
        self._namespaces = _Kept(Namespace)

    def read(self, content: bytes) -> RuleFile:
        """Raises `msgspec.MsgspecError` where it is no `RuleFile`."""
        outline = msgspec.json.decode(content, type=_Outline)
        texts = outline.resources
        resources = ResourceSet(
            agents=self._agents.read(texts.agents),
            providers=self._providers.read(texts.providers),
            quotas=self._quotas.read(texts.quotas),
            namespaces=self._namespaces.read(texts.namespaces),
            enforced=texts.enforced,
        )
        return RuleFile(outline.generation, resources)


class _Kept(Generic[T]):
    """The resources of one kind, by their text."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._known: dict[bytes, T] = {}

    def read(self, texts: Iterable[msgspec.Raw]) -> tuple[T, ...]:
        found: dict[bytes, T] = {}
        for raw in texts:
            text = bytes(raw)
            known = self._known.get(text)
            found[text] = known if known is not None else self._decoder.decode(text)
        self._known = found
        return tuple(found.values())
