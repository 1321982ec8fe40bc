"""What of a pod breaks the Pod Security Standard `restricted`. Source: Kubernetes, Pod Security Standards."""

from collections.abc import Iterator
from typing import Any

Json = Any

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def violations(pod: Json) -> Iterator[str]:
    spec = pod["spec"]
    yield from (name for name in _HOST if spec.get(name))
    for volume in spec.get("volumes") or ():
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - _VOLUMES)
    shared = spec.get("securityContext") or {}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        yield from (f"{container['name']}: {what}" for what in _of_container(container, shared))


def _of_container(container: Json, shared: Json) -> Iterator[str]:
    own = container.get("securityContext") or {}
    both = {**shared, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in (own.get("capabilities") or {}).get("drop", ()):
        yield "capabilities"
    if set((own.get("capabilities") or {}).get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "added capabilities"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "root"
    if (both.get("seccompProfile") or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccomp"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort"
