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

# In every enforced namespace.
SIDECAR: Final = "tollway-sidecar"
"""ConfigMap: what the sidecars of a namespace run by, and the trust bundle."""

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

_LONGEST_NAME: Final = 253
_SVID_PREFIX: Final = "tollway-svid-"


def svid_secret(agent: str) -> str:
    """The Secret with an agent's SVID. A name that would be too long is cut, and told apart by a digest."""
    name = _SVID_PREFIX + agent
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(agent.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17].rstrip('.-')}-{digest}"


def is_svid_secret(name: str) -> bool:
    return name.startswith(_SVID_PREFIX) or name == GATEWAY_SVID
