"""What the files are called that change under an Envoy: for those who look for one and write none."""

import hashlib
from typing import Final

_LONGEST_NAME: Final = 200
"""Characters of a provider's name in a file's: the provider may have 253, the file 255."""


def credential_file_name(provider: str) -> str:
    """Where the key of the provider of this name stands. A long name is cut, and its digest makes it unique."""
    name = provider
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"credential-{name}.json"
