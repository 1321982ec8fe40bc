"""The files of the gateway's identity: the keeper writes them, the usage port and the trial of trust read them."""

from typing import Final

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
BUNDLE_FILE: Final = "bundle.json"
"""The map of trust domains to bundles."""
