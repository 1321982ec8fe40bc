"""Which pod of the gateway is asked, and why there is none. Any replica answers: where there are several they share
the ledger."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tollway_cli.failures import Broken
from tollway_cli.place import InCluster
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.kinds import POD, Object

SELECTOR: Final = "app.kubernetes.io/name=tollway,app.kubernetes.io/component=gateway"
"""As the chart has it."""
ADMIN_PORT: Final = 9466


async def gateway_pods(client: Client, namespace: str) -> Sequence[Object]:
    """Raises `ClusterError`."""
    return [pod async for pod in client.list(POD, namespace, labelSelector=SELECTOR)]


def ready_pod(pods: Sequence[Object], where: InCluster) -> str:
    """The name of one that is Ready. Raises `Broken` that says what keeps the others from it."""
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    for pod in staying:
        if condition(pod, "Ready").get("status") == "True":
            return str(pod["metadata"]["name"])
    if not pods:
        raise Broken(
            f"there is no pod of the gateway in namespace {where.namespace} of this cluster: name the namespace of the "
            f"installation with --namespace (helm list -A shows it), or see tollway doctor{where.option}"
        )
    said = "; ".join(f"{pod['metadata']['name']}: {', '.join(hindrances(pod)) or 'it ends'}" for pod in pods)
    raise Broken(f"no pod of the gateway is Ready ({said}): see tollway doctor{where.option}")


def condition(pod: Object, kind: str) -> dict[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((dict(each) for each in conditions if each.get("type") == kind), {})


def hindrances(pod: Object) -> Iterator[str]:
    """What its conditions and containers say that keeps it from being Ready."""
    for kind in ("PodScheduled", "Ready"):
        found = condition(pod, kind)
        if found.get("status") == "False":
            yield str(found.get("message") or found.get("reason") or f"{kind} is False")
    for container, reason, message in troubles(pod):
        yield f"{container}: {reason}" + (f" ({message})" if message else "")


def troubles(pod: Object) -> Iterator[tuple[str, str, str]]:
    """Of each container that waits for something that went wrong: its name, the reason, what is said of it."""
    status = pod.get("status") or {}
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (each.get("state") or {}).get("waiting") or {}
        ended = (each.get("lastState") or {}).get("terminated") or {}
        reason = str(waiting.get("reason") or "")
        if reason in ("", "PodInitializing", "ContainerCreating"):
            continue
        yield str(each["name"]), reason, _ended(ended) if ended else str(waiting.get("message") or "")


def _ended(ended: Object) -> str:
    last_line = str(ended.get("message") or "").strip().rpartition("\n")[2]
    said = f"it ended with {ended.get('reason') or 'Error'}, exit code {ended.get('exitCode')}"
    return f"{said}: {last_line}" if last_line else said
