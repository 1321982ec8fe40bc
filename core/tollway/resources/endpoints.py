"""Where a provider listens: the URL in `AIProvider.spec.endpoint`, and what stands in for one that is absent.

URLs are never quoted in errors: people paste credentials into them.
"""

import re
from collections.abc import Mapping
from typing import Final

from tollway.resources.fields import Wrong
from tollway.resources.models import Endpoint, ProviderType

LONGEST: Final = 512
_HOST: Final = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PORT: Final = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_SEGMENT: Final = r"/[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_URL: Final = re.compile(rf"(https?)://({_HOST}|{_BYTE}(?:\.{_BYTE}){{3}})(?::({_PORT}))?((?:{_SEGMENT})*)/?")

_DEFAULTS: Final[Mapping[ProviderType, str]] = {
    ProviderType.OPENAI: "api.openai.com",
    ProviderType.ANTHROPIC: "api.anthropic.com",
    ProviderType.GEMINI: "generativelanguage.googleapis.com",
}
_AWS_REGION: Final = re.compile(
    r"(?:us|us-gov|eu|ap|sa|ca|me|af|il|mx)-(?:north|south|east|west|central)(?:east|west)?-[0-9]"
)


def endpoint(text: str) -> Endpoint:
    """`https://host[:port][/path]`, nothing else."""
    match = _URL.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        raise Wrong(
            "must be https://host[:port][/path] with a lower-case ASCII host name or IPv4 address, "
            "without user, query or fragment"
        )
    scheme, host, port, path = match.groups()
    tls = scheme == "https"
    return Endpoint(tls, host, int(port) if port else (443 if tls else 80), path)


def default_endpoint(provider: ProviderType, region: str | None) -> Endpoint | None:
    """The provider's public endpoint, where its type (and region) says what that is."""
    if provider is ProviderType.BEDROCK and region and _AWS_REGION.fullmatch(region):
        return Endpoint(tls=True, host=f"bedrock-runtime.{region}.amazonaws.com", port=443)
    host = _DEFAULTS.get(provider)
    return Endpoint(tls=True, host=host, port=443) if host else None
