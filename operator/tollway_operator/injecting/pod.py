"""A pod as far as its injection depends on it. The API server has read it before; what does not fit is refused whole.

Source: Kubernetes API `v1/Pod`. Fields that are not named here stay as they are in the pod, whatever they hold.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec

from tollway.resources.selection import Workload

MOST_CONTAINERS: Final = 256
"""Of a kind. A review has room for 20,000, and each takes 0.1 ms in which nobody else is answered."""


class Reference(msgspec.Struct):
    """A Secret or ConfigMap by its name."""

    name: str = ""


class SecretVolume(msgspec.Struct, rename="camel"):
    secret_name: str = ""


class PodCertificate(msgspec.Struct, rename="camel"):
    signer_name: str = ""


class ProjectedSource(msgspec.Struct, rename="camel"):
    secret: Reference | None = None
    pod_certificate: PodCertificate | None = None


class Projected(msgspec.Struct):
    sources: list[ProjectedSource] | None = None


class Volume(msgspec.Struct):
    name: str = ""
    secret: SecretVolume | None = None
    projected: Projected | None = None


class EnvSource(msgspec.Struct, rename="camel"):
    secret_key_ref: Reference | None = None


class Env(msgspec.Struct, rename="camel"):
    name: str = ""
    value: str | None = None
    value_from: EnvSource | None = None


class EnvFrom(msgspec.Struct, rename="camel"):
    prefix: str = ""
    secret_ref: Reference | None = None


class Port(msgspec.Struct, rename="camel"):
    container_port: int = 0


class Mount(msgspec.Struct):
    name: str = ""


class Container(msgspec.Struct, rename="camel"):
    name: str = ""
    env: list[Env] | None = None
    env_from: list[EnvFrom] | None = None
    ports: list[Port] | None = None
    volume_mounts: list[Mount] | None = None


Containers = Annotated[list[Container], msgspec.Meta(max_length=MOST_CONTAINERS)]


class OS(msgspec.Struct):
    name: str = ""


class Spec(msgspec.Struct, rename="camel"):
    containers: Containers | None = None
    init_containers: Containers | None = None
    ephemeral_containers: Containers | None = None
    volumes: list[Volume] | None = None
    service_account_name: str = ""
    host_network: bool = False
    host_processes: bool = msgspec.field(name="hostPID", default=False)
    share_process_namespace: bool = False
    os: OS | None = None
    node_selector: dict[str, str] | None = None
    dns_policy: str = "ClusterFirst"


class Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    generate_name: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Pod(msgspec.Struct):
    metadata: Metadata
    spec: Spec

    @property
    def shown(self) -> str:
        """Its name, or how the name will begin."""
        return self.metadata.name or f"{self.metadata.generate_name}*"

    def marks(self, key: str) -> set[str]:
        """The values of a label or an annotation of this key."""
        return {marks[key] for marks in (self.metadata.labels, self.metadata.annotations) if marks and key in marks}

    def workload(self, namespace: str) -> Workload:
        return Workload(namespace, self.spec.service_account_name or "default", self.metadata.labels or {})

    def containers(self) -> Iterator[Container]:
        """All of them: also those that are there only while it starts, and those of somebody who debugs it."""
        for some in (self.spec.init_containers, self.spec.containers, self.spec.ephemeral_containers):
            yield from some or ()


def read_pod(content: Any) -> Pod:  # noqa: ANN401 - JSON
    """Raises `msgspec.ValidationError` for what is no pod."""
    pod = msgspec.convert(content, Pod)
    if not pod.spec.containers:
        raise msgspec.ValidationError("a pod has at least one container - at `$.spec.containers`")
    return pod
