"""What is known of the cluster by now. Pure: fed by lists and watches, whose order of kinds means nothing.

Each object is read when it changes, by the parser that reads files on one machine; what is kept of it is the resource,
and its JSON as the rules have it, so that a change costs what changed and not what exists. A change of its status alone
is none.

What the parser refuses (the schema in the cluster agrees with it, so that is rare) never loosens anything: an agent is
left out and so are a provider and a namespace, and their calls are refused; a quota stays as it was before.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tollway.resources.models import AgentIdentity, AIProvider, AIQuota, Namespace
from tollway.resources.parse import read_object
from tollway_extauthz.keeping.messages import Object
from tollway_extauthz.keeping.watched import AGENTS, PROVIDERS, QUOTAS, RESOURCES, Watched, objects

Resource = AgentIdentity | AIProvider | AIQuota | Namespace
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A resource; `text` is its JSON, `version` the object's as the server counts, `uid` of it and no other."""

    resource: Resource
    text: msgspec.Raw
    version: str
    uid: str


@dataclass(frozen=True, slots=True)
class Change:
    """What came of something that was told. `said`: sentences for the log."""

    rules: bool = False
    files: bool = False
    said: tuple[str, ...] = ()


NOTHING: Final = Change()
Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Objects:
    """The files in what the operator writes; None where there is no such object."""

    config: Files | None = None
    credentials: Files | None = field(default=None, repr=False)
    svid: Files | None = field(default=None, repr=False)


class Known:
    def __init__(self, root_namespace: str) -> None:
        self.root_namespace = root_namespace
        self.pieces: Mapping[Watched, dict[Key, Piece]] = {watched: {} for watched in RESOURCES}
        self._singles = objects(root_namespace)
        self._files: dict[Watched, Files] = {}
        self._unlisted: set[Watched] = {*RESOURCES, *self._singles}

    @property
    def everything(self) -> Sequence[Watched]:
        return (*RESOURCES, *self._singles)

    @property
    def is_complete(self) -> bool:
        """Whether every kind was listed once."""
        return not self._unlisted

    @property
    def objects(self) -> Objects:
        return Objects(*(self._files.get(single) for single in self._singles))

    def listed(self, watched: Watched, found: Iterable[Object]) -> Change:
        """These are all that there are."""
        by_key = {each.key: each for each in found}
        first = watched in self._unlisted
        self._unlisted.discard(watched)
        if watched in self._singles:
            shown = [self._show(watched, each) for each in by_key.values()]
            return _sum(shown or [self._hide(watched, first)])
        gone = [key for key in self.pieces[watched] if key not in by_key]
        changes = [self._drop(watched, key) for key in gone]
        changes += [self._put(watched, each) for each in by_key.values()]
        return _sum([Change(rules=first), *changes])

    def seen(self, watched: Watched, content: Object, removed: bool) -> Change:
        """One came, changed or went."""
        if watched in self._singles:
            return self._hide(watched, False) if removed else self._show(watched, content)
        return self._drop(watched, content.key) if removed else self._put(watched, content)

    def _show(self, watched: Watched, content: Object) -> Change:
        files = _files(watched, content)
        if files is None:
            return Change(said=(f"{watched} has data that cannot be read; what it had before stays",))
        changed = self._files.get(watched) != files
        self._files[watched] = files
        return Change(files=changed)

    def _hide(self, watched: Watched, first: bool) -> Change:
        gone = self._files.pop(watched, None) is not None
        return Change(files=gone or first)

    def _put(self, watched: Watched, content: Object) -> Change:
        # A quota counts until it is gone, and a namespace is enforced as long as pods may run in it.
        if content.is_going and watched in {AGENTS, PROVIDERS}:
            return self._drop(watched, content.key)
        return self._read(watched, content)

    def _read(self, watched: Watched, content: Object) -> Change:
        before = self.pieces[watched].get(content.key)
        if before is not None and before.version == content.metadata.resource_version:
            return NOTHING
        resource, problems = read_object(_declaration(watched, content))
        if not isinstance(resource, Resource):
            said = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
            return self._refuse(watched, content, said)
        text, meta = msgspec.Raw(msgspec.json.encode(resource)), content.metadata
        self.pieces[watched][content.key] = piece = Piece(resource, text, meta.resource_version, meta.uid)
        return Change(rules=before is None or (before.uid, bytes(before.text)) != (piece.uid, bytes(piece.text)))

    def _refuse(self, watched: Watched, content: Object, said: str) -> Change:
        name = "/".join(part for part in content.key if part)
        if watched is QUOTAS:
            stays = "stays as it was" if content.key in self.pieces[watched] else "is left out"
            return Change(said=(f"{watched} {name} cannot be read, and {stays}: {said}",))
        left_out = f"{watched} {name} cannot be read, and is left out: {said}"
        return Change(self._drop(watched, content.key).rules, said=(left_out,))

    def _drop(self, watched: Watched, key: Key) -> Change:
        return Change(rules=self.pieces[watched].pop(key, None) is not None)


def _is_ours(watched: Watched) -> bool:
    return "/" in watched.api_version


def _sum(changes: Iterable[Change]) -> Change:
    listed = list(changes)
    return Change(
        any(each.rules for each in listed),
        any(each.files for each in listed),
        tuple(sentence for each in listed for sentence in each.said),
    )


def _declaration(watched: Watched, content: Object) -> Mapping[str, object]:
    """What the user said, without what the server added."""
    meta = content.metadata
    metadata: dict[str, object] = {"name": meta.name, "labels": meta.labels}
    if meta.namespace:
        metadata["namespace"] = meta.namespace
    spec = {"spec": content.spec} if _is_ours(watched) else {}
    return {"apiVersion": watched.api_version, "kind": watched.kind, "metadata": metadata, **spec}


def _files(watched: Watched, content: Object) -> Files | None:
    data = content.data or {}
    if watched.kind == "ConfigMap":
        return {name: text.encode() for name, text in data.items()}
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in data.items()}
    except (binascii.Error, ValueError):
        return None
