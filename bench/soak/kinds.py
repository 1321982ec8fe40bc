"""What can happen to a call, as its caller sees it, and which of it may happen when."""

import json
import re
from typing import Final

ANSWERED: Final = "answered"
REFUSED: Final = "refused: "
"""And the reason's code."""
OWN_ERROR: Final = "the provider's own error"
BROKEN_BY_PROVIDER: Final = "broken off by the provider"
LEFT: Final = "the caller hung up"
UNAVAILABLE: Final = "503 in the provider's shape"
NO_CONNECTION: Final = "no connection to the sidecar"
LOST: Final = "connection lost before the answer"
TORN: Final = "connection lost within the answer"
NO_ANSWER: Final = "no answer within 30 s"
WRONG: Final = "an answer in no provider's shape: "
"""And its status."""

PLANNED: Final = frozenset({ANSWERED, OWN_ERROR, BROKEN_BY_PROVIDER, LEFT})
"""What happens at any time, because it is meant to; refusals of a limit that is short are, too."""
WHILE_IT_BREAKS: Final = frozenset({UNAVAILABLE, NO_CONNECTION, LOST, TORN})
"""What may happen in the moments after a fault, and at no other time."""

_REASON: Final = re.compile(rb"\r\nx-tollway-reason: *([^\r]+)", re.IGNORECASE)
_STATUS_AT: Final = slice(9, 12)


def kind_of(head: bytes, body: bytes) -> str:
    """Of a complete answer."""
    status = head[_STATUS_AT]
    if status == b"200":
        return ANSWERED
    said = _error(body)
    if said is None:
        return WRONG + status.decode(errors="replace")
    if status == b"429" and (reason := _REASON.search(head)):
        return REFUSED + reason[1].decode()
    if status == b"500" and said == "The provider had an error of its own.":
        return OWN_ERROR
    return UNAVAILABLE if status == b"503" else WRONG + status.decode(errors="replace")


def _error(body: bytes) -> str | None:
    """The message of an OpenAI error: `{"error": {"message": …, "type": …}}`."""
    try:
        found = json.loads(body)["error"]
        return str(found["message"]) if isinstance(found["type"], str) else None
    except (ValueError, KeyError, TypeError):
        return None
