"""Why a pod is refused, as a column: the first rule that applies. What identity it has, and how that reaches it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tollway.resources.delivery import Hindrance, way_of
from tollway.resources.models import AgentIdentity, Delivery, SVIDSpec
from tollway.resources.selection import select, suspends_service_account
from tollway_operator.injecting.outcomes import Refused
from tollway_operator.injecting.pod import Container, Pod, ProjectedSource
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.names import (
    ALLOW_UNINJECTED,
    CONFIG_VOLUME,
    HEALTH_PORT,
    IDENTITY_VOLUME,
    INJECT,
    RUN_VOLUME,
    SIDECAR_CONTAINER,
    SIDECAR_PORT,
    is_agents_secret,
)
from tollway_operator.signing.request import SIGNER

OUR_VOLUMES: Final = (CONFIG_VOLUME, IDENTITY_VOLUME, RUN_VOLUME)
_PORTS: Final = (SIDECAR_PORT, HEALTH_PORT)

Rule = Callable[[Pod, NamespaceFacts], Refused | None]


@dataclass(frozen=True, slots=True)
class Holder:
    """What the pod is. `agent` is None for a workload that no AgentIdentity selects; `suspended` is the identity for
    whose suspension no certificate is issued; `in_vain` are younger identities that select it too."""

    agent: AgentIdentity | None
    delivery: Delivery
    suspended: AgentIdentity | None = None
    in_vain: tuple[AgentIdentity, ...] = ()

    @property
    def svid(self) -> SVIDSpec:
        return self.agent.svid if self.agent is not None else SVIDSpec()


def is_governed(namespace: NamespaceFacts, settings: InjectionSettings) -> bool:
    """Whether pods of a namespace have to do with Tollway at all."""
    return namespace.is_enforced and namespace.name not in {settings.root_namespace, "kube-system"}


def opts_out(pod: Pod) -> bool:
    return "false" in pod.marks(INJECT)


# --- refusals, in order --------------------------------------------------------------------------------------------


def refusal(pod: Pod, namespace: NamespaceFacts) -> Refused | None:
    return next((found for rule in RULES if (found := rule(pod, namespace)) is not None), None)


def _takes_identity(pod: Pod, _: NamespaceFacts) -> Refused | None:
    """SVIDs reach a pod by the injected volume alone: any other way would hand out another agent's."""
    way = next(_own_ways(pod), None)
    if way is None:
        return None
    return Refused("IdentityTaken", f"{way}: only the injected sidecar gets certificates of agents, remove it")


def _own_ways(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.volumes or ():
        if volume.name == IDENTITY_VOLUME and not opts_out(pod):
            continue  # whatever it is, it becomes ours
        if volume.secret is not None and is_agents_secret(volume.secret.secret_name):
            yield f"volume {volume.name} has the Secret {volume.secret.secret_name}"
        projected = volume.projected.sources if volume.projected is not None else ()
        yield from (f"volume {volume.name} {what}" for source in projected or () for what in _taken(source))
    for container in pod.containers():
        yield from _taken_by_variables(container)


def _taken(source: ProjectedSource) -> Iterator[str]:
    if source.secret is not None and is_agents_secret(source.secret.name):
        yield f"has the Secret {source.secret.name}"
    if source.pod_certificate is not None and source.pod_certificate.signer_name == SIGNER:
        yield f"asks the signer {SIGNER} for a certificate"


def _taken_by_variables(container: Container) -> Iterator[str]:
    named = [env.value_from.secret_key_ref for env in container.env or () if env.value_from is not None]
    named += [source.secret_ref for source in container.env_from or ()]
    for secret in named:
        if secret is not None and is_agents_secret(secret.name):
            yield f"variables of container {container.name} come from the Secret {secret.name}"


def _wants_no_sidecar(pod: Pod, namespace: NamespaceFacts) -> Refused | None:
    if not opts_out(pod) or namespace.allows_uninjected:
        return None
    sentence = f"{INJECT} is false, and namespace {namespace.name} does not allow that: remove it from the pod, "
    return Refused("MustBeInjected", f"{sentence}or have the namespace labelled {ALLOW_UNINJECTED}=true")


def _uses_host_network(pod: Pod, _: NamespaceFacts) -> Refused | None:
    if not pod.spec.host_network:
        return None
    return Refused("HostNetwork", "it uses the node's network, where pods cannot be told apart: remove hostNetwork")


def _sees_processes(pod: Pod, _: NamespaceFacts) -> Refused | None:
    """Whoever sees a sidecar's process, as its user, reads its files through /proc."""
    if pod.spec.host_processes:
        return Refused("HostPID", "it sees the processes of its node, and through them certificates: remove hostPID")
    if pod.spec.share_process_namespace and not opts_out(pod):
        sentence = "its containers would see the sidecar's process, and through it the agent's key"
        return Refused("SharedProcesses", f"{sentence}: remove shareProcessNamespace")
    return None


def _is_for_windows(pod: Pod, _: NamespaceFacts) -> Refused | None:
    system = pod.spec.os.name if pod.spec.os is not None else ""
    asked = (pod.spec.node_selector or {}).get("kubernetes.io/os", "")
    if "windows" not in {system, asked}:
        return None
    return Refused("Windows", "it is for Windows nodes, and the sidecar runs on Linux: run it in another namespace")


def _takes_our_name(pod: Pod, _: NamespaceFacts) -> Refused | None:
    if all(container.name != SIDECAR_CONTAINER for container in pod.spec.containers or ()):
        return None
    return Refused("NameTaken", f"a container of it is called {SIDECAR_CONTAINER}, as the sidecar is: rename it")


def _mounts_ours(pod: Pod, _: NamespaceFacts) -> Refused | None:
    for container in pod.containers():
        mounted = {mount.name for mount in container.volume_mounts or ()}
        if container.name != SIDECAR_CONTAINER and (ours := sorted(mounted.intersection(OUR_VOLUMES))):
            sentence = f"container {container.name} mounts {ours[0]}, which is for the sidecar alone: remove the mount"
            return Refused("VolumeTaken", sentence)
    return None


def _takes_our_port(pod: Pod, _: NamespaceFacts) -> Refused | None:
    for container in pod.containers():
        taken = {port.container_port for port in container.ports or ()}.intersection(_PORTS)
        if container.name != SIDECAR_CONTAINER and taken:
            sentence = f"container {container.name} listens on port {min(taken)}, which the sidecar needs: use another"
            return Refused("PortTaken", sentence)
    return None


RULES: Final[tuple[Rule, ...]] = (
    _takes_identity,
    _wants_no_sidecar,
    _uses_host_network,
    _sees_processes,
    _is_for_windows,
    _takes_our_name,
    _mounts_ours,
    _takes_our_port,
)


# --- identity ------------------------------------------------------------------------------------------------------


def holder(pod: Pod, namespace: NamespaceFacts, settings: InjectionSettings) -> Holder | Refused:
    """Who the pod is, or why it cannot have a certificate."""
    workload = pod.workload(namespace.name)
    selection = select(namespace.agents, workload)
    agent = selection.identity
    if agent is None and settings.refuse_unselected:
        sentence = f"no AgentIdentity of namespace {namespace.name} selects it, and this installation asks for one"
        return Refused("NotSelected", f"{sentence}: declare one with a selector for its labels")
    delivery = _delivery(agent, namespace.name, settings)
    if isinstance(delivery, Refused):
        return delivery
    if agent is None:
        return Holder(None, delivery, suspends_service_account(namespace.agents, workload))
    return Holder(agent, delivery, agent if agent.suspended else None, selection.in_vain)


def is_selected(pod: Pod, namespace: NamespaceFacts) -> bool:
    return select(namespace.agents, pod.workload(namespace.name)).identity is not None


def _delivery(agent: AgentIdentity | None, namespace: str, settings: InjectionSettings) -> Delivery | Refused:
    if agent is None:
        return _delivery_without_identity(namespace, settings)
    listed = namespace in settings.secret_namespaces
    delivery, hindrance = way_of(agent.svid.delivery, served=settings.pod_certificates, listed=listed)
    match hindrance:
        case Hindrance.NOT_SERVED:
            sentence = (
                f"AgentIdentity {agent.meta.name} asks for delivery PodCertificate, which this cluster does not serve "
                "(Kubernetes 1.37): use delivery Secret"
            )
            return Refused(hindrance.value, sentence)
        case Hindrance.NOT_LISTED:
            sentence = (
                f"the certificate of AgentIdentity {agent.meta.name} would be a Secret, and this installation does not "
                f"list namespace {namespace} for that: add it to secretNamespaces"
            )
            return Refused(hindrance.value, sentence)
        case None:
            return delivery


def _delivery_without_identity(namespace: str, settings: InjectionSettings) -> Delivery | Refused:
    """A Secret belongs to an AgentIdentity."""
    if settings.pod_certificates:
        return Delivery.POD_CERTIFICATE
    sentence = (
        f"no AgentIdentity of namespace {namespace} selects it, and this cluster has no PodCertificates "
        "(Kubernetes 1.37), by which alone such pods get an identity: declare an AgentIdentity for it"
    )
    return Refused("NotSelected", sentence)
