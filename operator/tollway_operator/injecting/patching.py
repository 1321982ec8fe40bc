"""The patch: a pure function of the pod as it is created, the facts of its namespace, and the settings.

Applied to its own result it changes nothing, so it may be asked as often as the API server likes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tollway_operator.injecting.environment import missing, variables, warnings
from tollway_operator.injecting.outcomes import LeftAlone, Operation, Outcome, Patched, Refused
from tollway_operator.injecting.pod import Container, Pod, read_pod
from tollway_operator.injecting.rules import Holder, holder, is_governed, opts_out, refusal
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.injecting.sidecar import container, volumes
from tollway_operator.names import SIDECAR_CONTAINER

Json = Mapping[str, Any]

_WARNINGS: Final = 20
"""More are not shown: the API server cuts them at 4 KB."""
_TOKENS: Final = "kube-api-access-"
_TOKENS_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def inject(content: Json, namespace: NamespaceFacts, settings: InjectionSettings) -> Outcome:
    """`content` is the pod as JSON. Raises `msgspec.ValidationError` where it is no pod."""
    pod = read_pod(content)
    if not is_governed(namespace, settings):
        return LeftAlone()
    if refused := refusal(pod, namespace):
        return refused
    if opts_out(pod):
        return LeftAlone(("no sidecar: its model calls do not go through Tollway",))
    found = holder(pod, namespace, settings)
    if isinstance(found, Refused):
        return found
    wanted = variables(found.agent, namespace)
    patch = [
        *_volumes(content["spec"].get("volumes"), volumes(found)),
        *_variables(pod, wanted),
        *_sidecar(content["spec"].get("initContainers"), container(settings)),
    ]
    return Patched(patch, tuple(_warnings(pod, found, wanted))[:_WARNINGS])


def _warnings(pod: Pod, found: Holder, wanted: Mapping[str, str]) -> Iterator[str]:
    if found.suspended is not None:
        yield (
            f"AgentIdentity {found.suspended.meta.name} is suspended: calls of this pod are refused; make the pod "
            "again when it is not"
        )
    for other in found.in_vain:
        chosen = found.agent.meta.name if found.agent is not None else ""
        yield f"AgentIdentity {other.meta.name} selects it in vain: it is an agent of the older {chosen}"
    if pod.spec.dns_policy in {"Default", "None"}:
        yield f"dnsPolicy {pod.spec.dns_policy}: the sidecar must find the gateway's Service by it"
    for each in _others(pod):
        yield from warnings(each, wanted)


def _others(pod: Pod) -> Iterator[Container]:
    for each in (*(pod.spec.init_containers or ()), *(pod.spec.containers or ())):
        if each.name != SIDECAR_CONTAINER:
            yield each


# --- operations ----------------------------------------------------------------------------------------------------


def _volumes(present: Sequence[Json] | None, wanted: Sequence[Json]) -> Iterator[Operation]:
    if present is None:
        yield _add("/spec/volumes", [])
    places = {each["name"]: index for index, each in enumerate(present or ())}
    for volume in wanted:
        index = places.get(volume["name"])
        if index is None:
            yield _add("/spec/volumes/-", volume)
        elif present is not None and present[index] != volume:
            yield {"op": "replace", "path": f"/spec/volumes/{index}", "value": volume}


def _variables(pod: Pod, wanted: Mapping[str, str]) -> Iterator[Operation]:
    """Before the sidecar is put in, while places in the list of init containers are still those of the pod."""
    for kind, some in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for index, each in enumerate(some or ()):
            if each.name != SIDECAR_CONTAINER:
                yield from _environment(f"/spec/{kind}/{index}/env", each, wanted)


def _environment(path: str, each: Container, wanted: Mapping[str, str]) -> Iterator[Operation]:
    """In front, so that the container's own variables can refer to them."""
    added = [{"name": name, "value": value} for name, value in missing(each, wanted)]
    if added and each.env is None:
        yield _add(path, added)
    else:
        yield from (_add(f"{path}/{place}", variable) for place, variable in enumerate(added))


def _sidecar(present: Sequence[Json] | None, wanted: Json) -> Iterator[Operation]:
    if present is None:
        yield _add("/spec/initContainers", [wanted])
        return
    names = [each.get("name") for each in present]
    place = names.index(SIDECAR_CONTAINER) if SIDECAR_CONTAINER in names else None
    if place == 0 and _is_ours(present[0], wanted):
        return
    if place is not None:
        yield {"op": "remove", "path": f"/spec/initContainers/{place}"}
    yield _add("/spec/initContainers/0", wanted)


def _add(path: str, value: object) -> Operation:
    return {"op": "add", "path": path, "value": value}


def _is_ours(present: Json, wanted: Json) -> bool:
    """Whether it is exactly what we put in; the API server itself mounts its tokens everywhere."""
    mounts = [each for each in present.get("volumeMounts") or () if not _is_token(each)]
    return {**present, "volumeMounts": mounts} == wanted


def _is_token(mount: Json) -> bool:
    return str(mount.get("name")).startswith(_TOKENS) and mount.get("mountPath") == _TOKENS_PATH
