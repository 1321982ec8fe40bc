"""Which bytes of a message's body to change: the output cap, the part of it for thinking, the service tier.

Everything outside these edits reaches the provider byte for byte as the caller wrote it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tollway.providers.anthropic.request import COUNT_TOKENS
from tollway.providers.json_scan import Body, Span, after_brace, members
from tollway.providers.port import Edit, ParsedCall

_NULL: Final = b"null"
# Where a request says nothing the account's priority capacity may serve it, at another price.
_STANDARD: Final = '"standard_only"'


def message_edits(call: ParsedCall, body: Body, cap: int | None) -> Sequence[Edit]:
    """The edits, sorted and disjoint."""
    if call.operation.name == COUNT_TOKENS.name:
        return []
    spans = call.places
    front = [] if "service_tier" in spans else [Edit(after_brace(body), 0, f'"service_tier":{_STANDARD},')]
    return front + sorted(_replacements(call, body, spans, cap), key=lambda edit: edit.offset)


def _replacements(call: ParsedCall, body: Body, spans: Mapping[str, Span], cap: int | None) -> Iterator[Edit]:
    if "service_tier" in spans and _text(body, spans["service_tier"]) == _NULL:
        yield _replacement(spans["service_tier"], _STANDARD)
    if cap is not None and call.output_cap is not None and cap < call.output_cap:
        yield _replacement(spans["max_tokens"], str(cap))
        yield from _less_thinking(body, spans.get("thinking"), cap)


def _less_thinking(body: Body, thinking: Span | None, cap: int) -> Iterator[Edit]:
    """The provider refuses a budget for thinking that leaves no token for the answer."""
    if thinking is None or _text(body, thinking) == _NULL:
        return
    budget = members(body, thinking).get("budget_tokens")
    if budget is not None and _text(body, budget) != _NULL and int(_text(body, budget)) >= cap:
        yield _replacement(budget, str(cap - 1))


def _replacement(span: Span, text: str) -> Edit:
    return Edit(span.start, span.end - span.start, text)


def _text(body: Body, span: Span) -> Body:
    return body[span.start : span.end]
