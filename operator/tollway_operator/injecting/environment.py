"""The variables that bring a pod's programs to its sidecar, in every container that does not set them itself."""

from collections.abc import Iterator, Mapping, Sequence

from tollway.capture import has_data_path, is_open_to, sdk_variables
from tollway.resources.models import AgentIdentity, Capture
from tollway_operator.injecting.pod import Container
from tollway_operator.injecting.settings import NamespaceFacts
from tollway_operator.names import SIDECAR_PORT


def variables(agent: AgentIdentity | None, namespace: NamespaceFacts) -> Mapping[str, str]:
    """What the pod's containers get; nothing for an agent that is not to be captured."""
    if agent is not None and agent.capture is Capture.NONE:
        return {}
    reachable = [each for each in namespace.providers if has_data_path(each) and is_open_to(each, namespace.labels)]
    return sdk_variables(reachable, SIDECAR_PORT)


def missing(container: Container, wanted: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """The variables that a container does not set, in a fixed order."""
    own = {env.name for env in container.env or ()}
    return [(name, value) for name, value in sorted(wanted.items()) if name not in own]


def warnings(container: Container, wanted: Mapping[str, str]) -> Iterator[str]:
    """What its author may not expect."""
    for env in container.env or ():
        if env.name in wanted and env.value != wanted[env.name]:
            yield _own(container.name, env.name)
    # What a container sets by name comes before what it takes from elsewhere.
    if any(_may_set(source.prefix, wanted) for source in container.env_from or ()) and missing(container, wanted):
        yield f"container {container.name}: variables of Tollway's come before the same ones of its envFrom"


def _own(container: str, name: str) -> str:
    if name.endswith("_KEY"):
        return f"container {container}: its own {name} is not used by calls through Tollway"
    return f"container {container} sets {name} itself: its calls do not go through Tollway"


def _may_set(prefix: str, wanted: Mapping[str, str]) -> bool:
    return any(name.startswith(prefix) for name in wanted)
