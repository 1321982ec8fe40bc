"""An SVID as the files that an Envoy reads: `atomic_files.swap` changes certificate and key together.

The names are those of a Kubernetes TLS Secret. Envoy's `watched_directory` is the directory itself.
"""

from collections.abc import Mapping
from typing import Final

from tollway_operator.authority.authority import SVID

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
BUNDLE_FILE: Final = "bundle.json"
"""The map of trust domains to bundles."""


def svid_files(svid: SVID, bundle_map: bytes) -> Mapping[str, bytes]:
    """What to show in the directory of one Envoy: name to content."""
    return {CERTIFICATE_FILE: svid.chain_pem, KEY_FILE: svid.key_pem, BUNDLE_FILE: bundle_map}
