"""Reads everything that is watched in one go: at the start, and now and then, because a watch can miss something."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import NotFound, Refused
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.watching.facts import Fact, read
from tollway_operator.watching.store import Store

_BY_NAME: Final = "metadata.name="
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watch:
    """Objects of a kind: of one namespace or of all, and those of a selector only."""

    kind: Kind
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    optional: bool = False
    """Whether everything else goes on where this may not be read: a namespace whose Role is not there yet."""

    def may_show(self, fact: Fact) -> bool:
        """Whether an object that is not in a listing of these is gone, and was not only left out."""
        of_name = self.fields.removeprefix(_BY_NAME) if self.fields.startswith(_BY_NAME) else ""
        return not of_name or fact.me.name == of_name

    @property
    def selectors(self) -> dict[str, str]:
        named = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: selector for name, selector in named.items() if selector}


async def list_all(client: Client, watches: Iterable[Watch], store: Store) -> None:
    """Bring the store up to date. A kind that is not served has no objects. Raises `ClusterError`."""
    for watch in watches:
        known = [fact for fact in store.all(watch.kind, Fact, watch.namespace or None) if watch.may_show(fact)]
        try:
            store.replace(watch.kind, await _listed(client, watch, known), known)
        except Refused as refusal:
            if not watch.optional:
                raise
            _log.warning("%s of namespace %s cannot be read: %s", watch.kind.plural, watch.namespace, refusal)


async def _listed(client: Client, watch: Watch, known: Iterable[Fact]) -> list[Fact]:
    """What is known in the same version is not read again: mostly that is everything."""
    versions = {(fact.me.uid, fact.me.resource_version): fact for fact in known}

    def fact_of(content: Object) -> Fact | None:
        metadata = content["metadata"]
        same = versions.get((metadata.get("uid", ""), metadata.get("resourceVersion", "")))
        return same or readable(watch.kind, content)

    try:
        found = client.list(watch.kind, watch.namespace, **watch.selectors)
        return [fact async for content in found if (fact := fact_of(content)) is not None]
    except NotFound:
        return []


def readable(kind: Kind, content: Object) -> Fact | None:
    """What to keep of an object, or None where it is not what an API server would send."""
    try:
        # In a list the items have no type.
        return read(kind, {**content, "apiVersion": kind.api_version, "kind": kind.kind})
    except (msgspec.ValidationError, KeyError) as error:
        _log.warning("left alone, a %s that cannot be read: %s", kind.kind, error)
        return None
    except Exception as error:  # noqa: BLE001 - whatever somebody wrote into one object, all others are read
        _log.warning("left alone, a %s that cannot be read: %s", kind.kind, type(error).__name__)
        return None
