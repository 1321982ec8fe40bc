"""Files to resources: every document is read, every problem found. Either all is sound or the caller keeps what it has.

documents (YAML, limits) -> kinds (fields, bounds, rules) -> one set (no object twice)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar, cast

from tollway.resources.builtin import read_namespace, read_secret
from tollway.resources.documents import Document, Yaml, read_documents
from tollway.resources.fields import Fields, Place, Reader, Reported, Wrong, string
from tollway.resources.identities import check_agent_identity, read_agent_identity
from tollway.resources.metadata import cluster_scoped, namespaced
from tollway.resources.models import (
    AgentIdentity,
    AIProvider,
    AIQuota,
    Meta,
    Namespace,
    ResourceSet,
    Secret,
)
from tollway.resources.problems import Problem, capped, json_path, quoted
from tollway.resources.providers import read_provider
from tollway.resources.quotas import check_quota, read_quota

API_VERSION: Final = "tollway.dev/v1alpha1"
MOST_PROBLEMS: Final = 1_000

Resource: TypeAlias = AgentIdentity | AIProvider | AIQuota | Secret | Namespace
R = TypeVar("R", AgentIdentity, AIProvider, AIQuota, Secret, Namespace)


@dataclass(frozen=True, slots=True)
class Parsed:
    """`resources` means something only where there are no problems."""

    resources: ResourceSet
    problems: tuple[Problem, ...]


def parse_files(files: Mapping[str, bytes]) -> Parsed:
    """The resources in YAML files, by file name. Never raises: whatever is wrong is a problem."""
    problems: list[Problem] = []
    found: list[tuple[Document, Resource]] = []
    for file, data in files.items():
        documents, faults = read_documents(file, data)
        problems += faults
        for document in documents:
            resource = _read(document, problems)
            if resource is not None:
                found.append((document, resource))
    problems += _duplicates(found)
    return Parsed(_resource_set([resource for _, resource in found]), capped(problems, MOST_PROBLEMS))


def read_object(content: Mapping[str, object]) -> tuple[Resource | None, tuple[Problem, ...]]:
    """One object as an API server has it. Never raises: the resource, or what is wrong with it."""
    problems: list[Problem] = []
    resource = _read(Document("", 1, cast("dict[str, Yaml]", content)), problems)
    return resource, capped(problems, MOST_PROBLEMS)


def _duplicates(found: Sequence[tuple[Document, Resource]]) -> Iterable[Problem]:
    first: dict[tuple[type[Resource], str, str], Document] = {}
    for document, resource in found:
        key = (type(resource), resource.meta.namespace, resource.meta.name)
        other = first.setdefault(key, document)
        if other is not document:
            sentence = f"is declared already in {other.file}, document {other.number}: keep one"
            yield Problem(document.file, document.object, "", sentence)


def _resource_set(found: Sequence[Resource]) -> ResourceSet:
    return ResourceSet(
        agents=_ordered(found, AgentIdentity),
        providers=_ordered(found, AIProvider),
        quotas=_ordered(found, AIQuota),
        secrets=_ordered(found, Secret),
        namespaces=_ordered(found, Namespace),
    )


def _ordered(found: Sequence[Resource], kind: type[R]) -> tuple[R, ...]:
    of_kind = (resource for resource in found if isinstance(resource, kind))
    return tuple(sorted(of_kind, key=lambda resource: (resource.meta.namespace, resource.meta.name)))


# --- one document --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    api_version: str
    metadata: Reader[Meta]
    read: Callable[[Fields, Meta], Resource]


def _with_spec(
    read_spec: Callable[[Yaml, Place, Meta], R], check: Callable[[R], None] | None = None
) -> Callable[[Fields, Meta], R]:
    """A kind of ours: everything is in `spec`; `status` is whatever a cluster wrote there."""

    def read(fields: Fields, meta: Meta) -> R:
        resource = fields.required("spec", lambda value, place: read_spec(value, place, meta), "say what you want")
        fields.tolerate(("status",))
        fields.close()
        if check is not None:
            check(resource)
        return resource

    return read


_KINDS: Final[Mapping[str, _Kind]] = {
    "AgentIdentity": _Kind(API_VERSION, namespaced(), _with_spec(read_agent_identity, check_agent_identity)),
    "AIProvider": _Kind(API_VERSION, cluster_scoped(), _with_spec(read_provider)),
    "AIQuota": _Kind(API_VERSION, namespaced(), _with_spec(read_quota, check_quota)),
    "Secret": _Kind("v1", namespaced(), read_secret),
    "Namespace": _Kind("v1", cluster_scoped(), read_namespace),
}


_NAMELESS: Final = Meta("")


def _read(document: Document, problems: list[Problem]) -> Resource | None:
    place = Place()
    try:
        return _resource(Fields(document.content, place))
    except Wrong as wrong:
        place.note(wrong.sentence, wrong.at)
    except Reported:
        pass
    problems += (Problem(document.file, document.object, json_path(path), said) for path, said in place.findings)
    return None


def _resource(fields: Fields) -> Resource:
    name = fields.required("kind", _kind_name, f"one of {', '.join(_KINDS)}")
    fields.stop_if_wrong()
    kind = _KINDS[name]
    fields.required("apiVersion", _exactly(kind.api_version), f"write {kind.api_version}")
    meta = fields.required("metadata", kind.metadata, "name the object", stand_in=_NAMELESS)
    return kind.read(fields, meta)


def _kind_name(value: Yaml, _place: Place) -> str:
    name = string(value)
    if name not in _KINDS:
        raise Wrong(f"is {quoted(name)}, which Tollway does not read: use one of {', '.join(_KINDS)}")
    return name


def _exactly(expected: str) -> Reader[str]:
    def read(value: Yaml, _place: Place) -> str:
        if string(value) != expected:
            raise Wrong(f"is {quoted(string(value))}: write {expected}")
        return expected

    return read
