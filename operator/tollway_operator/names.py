"""What everything of ours in a cluster is called: what the operator writes, and others mount, watch or guard by name.

Names are fixed, because RBAC and admission policies know objects by nothing else.
"""

import hashlib
from typing import Final

MANAGER: Final = "tollway-operator"
"""The field manager of what the operator applies; also the name of its Lease."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
TOLLWAY: Final = "tollway"
OUR_LABELS: Final = {MANAGED_BY: TOLLWAY}

# In the root namespace.
LEASE: Final = "tollway-operator"
AUTHORITY: Final = "tollway-ca"
"""Secret: the state of the certificate authority, under `AUTHORITY_KEY`."""
AUTHORITY_KEY: Final = "authority.json"
BROUGHT_ROOT: Final = "tollway-ca-root"
"""Secret: a root that the user brings, `tls.crt` and `tls.key`."""
GATEWAY: Final = "tollway-gateway"
"""ConfigMap: everything that the gateway's pod runs by, but for credentials; also the gateway's service account."""
GATEWAY_CREDENTIALS: Final = "tollway-gateway-credentials"
GATEWAY_SVID: Final = "tollway-gateway-svid"
ROOT_CHANGE: Final = "tollway-root-change"
"""ConfigMap: how a change of the root stands; a person's command is an annotation of it."""
COMMAND: Final = "tollway.dev/command"
"""That annotation: `prepare`, `activate` or `abort`. To give the same again, anything after a blank: `prepare 2`."""
STANDING_FILE: Final = "status.json"
GATEWAY_REPLICAS: Final = "tollway-gateway-replicas"
"""The headless Service behind whose name is every replica, for the operator's questions."""

# In every enforced namespace.
SIDECAR: Final = "tollway-sidecar"
"""ConfigMap: what the sidecars of a namespace run by, and the trust bundle."""

EGRESS: Final = "tollway-egress"
"""NetworkPolicy, in those whose egress is strict; also the ConfigMap of the admission policy that guards it."""
EGRESS_LABEL: Final = "tollway.dev/egress"
"""Of a namespace: strict | open."""
STRICT: Final = "strict"

# The injector.
INJECTOR: Final = "tollway-injector"
"""MutatingWebhookConfiguration, Service, Deployment and service account."""
INJECTOR_TLS: Final = "tollway-injector-tls"
"""Secret: what its webhook shows, `tls.crt` and `tls.key`, and in `ca.crt` all that it may show for now."""
INJECT: Final = "tollway.dev/inject"
"""Label or annotation of a pod: "false" asks for no sidecar."""
ALLOW_UNINJECTED: Final = "tollway.dev/allow-uninjected"
"""Label of a namespace: "true" lets its pods ask for that."""

# In the pod of a sidecar. Volumes have these names, so that admission policies know them.
SIDECAR_CONTAINER: Final = "tollway-sidecar"
CONFIG_VOLUME: Final = "tollway-config"
IDENTITY_VOLUME: Final = "tollway-identity"
RUN_VOLUME: Final = "tollway-run"
CONFIG_DIR: Final = "/etc/tollway/config"
IDENTITY_DIR: Final = "/etc/tollway/identity"
RUN_DIR: Final = "/run/tollway"
SIDECAR_PORT: Final = 15001
"""On loopback: where the agent's programs call."""
HEALTH_PORT: Final = 15021
"""On the pod's address: answers for the sidecar's own Envoy."""
HEALTH_PATH: Final = "/healthz"

CLUSTER_TRUST_BUNDLE: Final = "tollway.dev:agent:bundle"

# Files in those objects, beside those of Envoy's renderers.
BOOTSTRAP_FILE: Final = "bootstrap.json"
BUNDLE_FILE: Final = "bundle.json"
"""The map of trust domains to bundles, as Envoy's SPIFFE validator reads it."""
ROOTS_FILE: Final = "ca.crt"
"""The roots as PEM."""
ISSUERS_FILE: Final = "issuers.pem"
PARTS_FILE: Final = "parts.json"
"""In the gateway's ConfigMap: which files of `GATEWAY_CREDENTIALS` belong to this generation."""
GENERATION_FILE: Final = "generation"
"""In `GATEWAY_CREDENTIALS`: the generation of the configuration that they were rendered with."""

_LONGEST_NAME: Final = 253
_SVID_PREFIX: Final = "tollway-svid-"


def svid_secret(agent: str) -> str:
    """The Secret with an agent's SVID. A name that would be too long is cut, and told apart by a digest."""
    name = _SVID_PREFIX + agent
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(agent.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17].rstrip('.-')}-{digest}"


def is_agents_secret(name: str) -> bool:
    """Whether a Secret outside the root namespace holds an agent's SVID, by its name."""
    return name.startswith(_SVID_PREFIX)


def is_svid_secret(name: str) -> bool:
    return name.startswith(_SVID_PREFIX) or name == GATEWAY_SVID
