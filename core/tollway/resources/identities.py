"""Reading an AgentIdentity. Fields, bounds and defaults are those of `crds/tollway.dev_agentidentities.yaml`."""

from typing import Final

from tollway.resources.documents import Yaml
from tollway.resources.fields import Fields, Place, Wrong, choice, flag, text
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AgentIdentity,
    Capture,
    Delivery,
    KeyType,
    Meta,
    Selector,
    SVIDSpec,
)
from tollway.resources.names import NAME, selector
from tollway.resources.windows import svid_ttl_ms

_DEFAULTS: Final = SVIDSpec()


def read_agent_identity(value: Yaml, place: Place, meta: Meta) -> AgentIdentity:
    fields = Fields(value, place)
    pods = fields.optional("selector", selector, Selector({}))
    service_account = fields.optional("serviceAccountName", NAME, None)
    svid = fields.optional("svid", _svid, _DEFAULTS)
    capture = fields.optional("capture", choice(Capture), Capture.ENV)
    suspended = fields.optional("suspended", flag, False)
    fields.close()
    fields.insist(
        bool(pods.match_labels) or service_account is not None,
        "give selector.matchLabels, serviceAccountName or both: else every pod of the namespace would be this agent",
    )
    fields.stop_if_wrong()
    return AgentIdentity(meta, pods, service_account, svid, capture, suspended)


def check_agent_identity(identity: AgentIdentity) -> None:
    """What the schema cannot see: a CEL rule knows an object's name, not its namespace."""
    if identity.meta.namespace == ROOT_NAMESPACE:
        raise Wrong(
            f"the root namespace {ROOT_NAMESPACE} has no agents: move it to the namespace of its pods",
            ("metadata", "namespace"),
        )


def _svid(value: Yaml, place: Place) -> SVIDSpec:
    fields = Fields(value, place)
    ttl_ms = fields.optional("ttl", text(svid_ttl_ms), _DEFAULTS.ttl_ms)
    delivery = fields.optional("delivery", choice(Delivery), _DEFAULTS.delivery)
    key_type = fields.optional("keyType", choice(KeyType), _DEFAULTS.key_type)
    fields.close()
    return SVIDSpec(ttl_ms, delivery, key_type)
