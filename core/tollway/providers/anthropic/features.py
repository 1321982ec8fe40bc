"""The headers that say which format a request has and which features it switches on.

`anthropic-beta` may change what a call costs, so its values are an allow-list: here are those that only allow what the
body then asks for (and the parser judges), or that change nothing but an answer's shape. Every other is taken out, and
the caller is told: SDKs and coding agents send long lists of them with every call, mostly of features they do not use.
Not let through, though often sent: `context-1m-…` (a longer prompt than the price row bounds), `context-management-…`
and `compact-…` (further runs of the model), `mcp-client-…`, `files-api-…`, `skills-…`, `code-execution-…`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from tollway.providers.port import HeaderEdit, RequestRefused
from tollway.providers.reading import Reason, shown

VERSIONS: Final = frozenset({"2023-06-01", "2026-10-21"})
"""Those whose format is described here. Messages are the same in both, but for what the newer refuses."""

BETAS: Final = frozenset(
    {
        "effort-2025-11-24",
        "extended-cache-ttl-2025-04-11",
        "fast-mode-2026-02-01",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "model-context-window-exceeded-2025-08-26",
        "output-128k-2025-02-19",
        "prompt-caching-2024-07-31",
        "structured-outputs-2025-11-13",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
    }
)

_REMEMBERED: Final = 256
_USUAL_LENGTH: Final = 1024


def feature_edits(headers: Mapping[str, str]) -> Sequence[HeaderEdit]:
    """What of the features must not travel. Raises `RequestRefused`."""
    if headers.get("anthropic-version") not in VERSIONS:
        raise RequestRefused(
            Reason.UNREADABLE,
            f"The header anthropic-version must be one of {', '.join(sorted(VERSIONS))}.",
            param="anthropic-version",
        )
    features = headers.get("anthropic-beta", "")
    return _edits(features) if len(features) <= _USUAL_LENGTH else _edits.__wrapped__(features)


@lru_cache(_REMEMBERED)
def _edits(features: str) -> Sequence[HeaderEdit]:
    """SDKs and agents send one list or a few, over and over."""
    asked = [word for word in (each.strip() for each in features.split(",")) if word]
    removed = tuple(shown(word) for word in asked if word not in BETAS)
    kept = ",".join(word for word in asked if word in BETAS)
    return (HeaderEdit("anthropic-beta", kept, removed),) if removed else ()
