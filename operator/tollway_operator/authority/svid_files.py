"""An SVID as the files that an Envoy reads: `tollway_files.atomic.swap` changes certificate and key together.

The names are those of a Kubernetes TLS Secret. Envoy's `watched_directory` is the directory itself.
"""

from collections.abc import Mapping
from typing import Final

from tollway_operator.authority.authority import SVID

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
TRIAL_CERTIFICATE_FILE: Final = "trial.crt"
TRIAL_KEY_FILE: Final = "trial.key"
"""Of the gateway's: the certificate that it shows to those who try whether they trust it."""
BUNDLE_FILE: Final = "bundle.json"
"""The map of trust domains to bundles."""


def svid_files(svid: SVID, bundle_map: bytes) -> Mapping[str, bytes]:
    """What to show in the directory of one Envoy: name to content."""
    return {CERTIFICATE_FILE: svid.chain_pem, KEY_FILE: svid.key_pem, BUNDLE_FILE: bundle_map}


def gateway_svid_files(svid: SVID, trial: SVID | None, bundle_map: bytes) -> Mapping[str, bytes]:
    """The same for the gateway. There is always a trial certificate, because its Envoy would wait for one: where
    nothing is tried it is the SVID itself, which proves nothing to anybody."""
    shown = trial or svid
    trial_files = {TRIAL_CERTIFICATE_FILE: shown.chain_pem, TRIAL_KEY_FILE: shown.key_pem}
    return {**svid_files(svid, bundle_map), **trial_files}
