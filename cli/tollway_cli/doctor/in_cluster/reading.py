"""How objects of the API server become facts. Pure."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography import x509

from tollway_cli.cluster.gateway import condition, troubles
from tollway_cli.doctor.in_cluster.snapshot import KindFacts, LeaseFacts, NamespaceFacts, PartFacts, PodFacts, Trouble
from tollway_operator.authority.certificates import validity_of
from tollway_operator.cluster.kinds import Object
from tollway_operator.names import INJECT, SIDECAR_CONTAINER
from tollway_operator.watching.facts import moment

VERSION_LABEL: Final = "app.kubernetes.io/version"
_OUR_VERSION: Final = "v1alpha1"
_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def kind_facts(crd: Object) -> KindFacts:
    schema: Any = next(
        (each.get("schema") for each in crd["spec"]["versions"] if each["name"] == _OUR_VERSION and each.get("served")),
        None,
    )
    spec = _inside(schema or {}, "openAPIV3Schema", "properties", "spec", "properties")
    return KindFacts(condition(crd, "Established").get("status") == "True", frozenset(spec))


def _inside(content: Object, *path: str) -> Object:
    found = content
    for name in path:
        found = found.get(name) or {}
    return found


def part_facts(kind: str, workload: Object, pods: Sequence[Object]) -> PartFacts:
    """`pods`: all that its selector selects."""
    status, meta = workload.get("status") or {}, workload["metadata"]
    wanted = int(workload["spec"].get("replicas", 1))
    return PartFacts(
        kind,
        wanted,
        int(status.get("readyReplicas") or 0),
        str((meta.get("labels") or {}).get(VERSION_LABEL, "")),
        int(status.get("updatedReplicas") or 0) >= wanted
        and int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
        tuple(each for pod in pods for each in _troubles(pod)),
    )


def _troubles(pod: Object) -> Iterator[Trouble]:
    name = str(pod["metadata"]["name"])
    if pod["metadata"].get("deletionTimestamp"):
        return
    for kind in ("PodScheduled", "PodReadyToStartContainers"):
        found = condition(pod, kind)
        if found.get("status") == "False":
            yield Trouble(name, "", str(found.get("reason") or kind), str(found.get("message") or ""))
            return
    yield from (Trouble(name, *each) for each in troubles(pod))


def lease_facts(lease: Object) -> LeaseFacts:
    spec = lease.get("spec") or {}
    duration = int(spec.get("leaseDurationSeconds") or 0) * 1_000
    return LeaseFacts(str(spec.get("holderIdentity") or ""), moment(spec.get("renewTime")) or 0, duration)


def trusted_until(configuration: Object) -> tuple[int, ...]:
    """When the certificates end by which a MutatingWebhookConfiguration trusts its webhooks."""
    found: list[int] = []
    for hook in configuration.get("webhooks") or ():
        bundle = (hook.get("clientConfig") or {}).get("caBundle") or ""
        found += ends_of(_decoded(str(bundle)))
    return tuple(found)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def ends_of(pem: bytes) -> tuple[int, ...]:
    """When the certificates of a PEM file end; nothing for what cannot be read."""
    try:
        return tuple(validity_of(each).not_after for each in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return ()


class _Key(msgspec.Struct, frozen=True):
    x5c: tuple[str, ...] = ()


class _Bundle(msgspec.Struct, frozen=True):
    keys: tuple[_Key, ...] = ()


class _Bundles(msgspec.Struct, frozen=True):
    trust_domains: dict[str, _Bundle] = {}


def ends_of_bundle(content: str) -> tuple[int, ...]:
    """When the roots end of a map of trust domains to SPIFFE bundles; nothing for what cannot be read."""
    try:
        bundles = msgspec.json.decode(content, type=_Bundles).trust_domains.values()
        encoded = (key.x5c[0] for bundle in bundles for key in bundle.keys if key.x5c)
        return tuple(validity_of(x509.load_der_x509_certificate(_decoded(each))).not_after for each in encoded)
    except (ValueError, msgspec.DecodeError):
        return ()


def ready_endpoints(slices: Sequence[Object]) -> int:
    found = (each for one in slices for each in one.get("endpoints") or ())
    # Ready is nothing where it is not known, which counts as ready.
    return sum((each.get("conditions") or {}).get("ready") is not False for each in found)


def namespace_facts(namespace: Object) -> NamespaceFacts:
    meta = namespace["metadata"]
    return NamespaceFacts(str(meta["name"]), dict(meta.get("labels") or {}))


def pod_facts(pod: Object) -> PodFacts | None:
    """None for one that has ended, or is about to."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    if (pod.get("status") or {}).get("phase") in _FINISHED or meta.get("deletionTimestamp"):
        return None
    marks = ((meta.get(where) or {}).get(INJECT) for where in ("labels", "annotations"))
    return PodFacts(
        str(meta["namespace"]),
        str(meta["name"]),
        str(spec.get("nodeName") or ""),
        _owner(meta),
        any(each["name"] == SIDECAR_CONTAINER for each in spec.get("initContainers") or ()),
        "false" in marks,
    )


def _owner(meta: Mapping[str, Any]) -> str:
    """As `kubectl rollout` names it: of a ReplicaSet its Deployment."""
    owner = next((each for each in meta.get("ownerReferences") or () if each.get("controller")), None)
    if owner is None:
        return ""
    kind, name = str(owner["kind"]).lower(), str(owner["name"])
    hashed = (meta.get("labels") or {}).get("pod-template-hash")
    if kind == "replicaset" and hashed and name.endswith(f"-{hashed}"):
        return f"deployment/{name.removesuffix(f'-{hashed}')}"
    return f"{kind}/{name}"
