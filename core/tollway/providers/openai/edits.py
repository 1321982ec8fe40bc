"""Which bytes of a chat completion's body to change: the output cap, usage in streams, nothing stored.

Everything outside these edits reaches the provider byte for byte as the caller wrote it. A new member goes right behind
the object's opening brace; a member that is there, even as `null`, is replaced in place, or its key would stand twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tollway.providers.json_scan import Span, after_brace, members
from tollway.providers.openai.request import CAPS
from tollway.providers.port import Edit, ParsedCall

_TRUE: Final = b"true"
_NULL: Final = b"null"


def chat_completion_edits(
    call: ParsedCall, body: bytes, cap: int | None, *, cap_field: str, unasked: Mapping[str, str]
) -> Sequence[Edit]:
    """The edits, sorted and disjoint.

    `cap_field` is set where the request names no cap, and each member of `unasked` (name -> JSON) where it names none.
    """
    spans = members(body)
    replaced: list[Edit] = []
    inserted: list[str] = []
    for name, text in _changes(call, body, spans, cap, cap_field, unasked):
        if name in spans:
            replaced.append(_replacement(spans[name], text))
        else:
            inserted.append(f'"{name}":{text},')
    replaced += _usage_edits(body, spans) if call.stream and not call.wants_usage else ()
    if call.stream and "stream_options" not in spans:
        inserted.append('"stream_options":{"include_usage":true},')
    front = [Edit(after_brace(body), 0, "".join(inserted))] if inserted else []
    return front + sorted(replaced, key=lambda edit: edit.offset)


def _changes(
    call: ParsedCall,
    body: bytes,
    spans: Mapping[str, Span],
    cap: int | None,
    cap_field: str,
    unasked: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """Top-level members to set: name and value."""
    if cap is not None and (call.output_cap is None or cap < call.output_cap):
        yield _cap_name(body, spans, cap_field), str(cap)
    if _value(body, spans, "store") == _TRUE:
        yield "store", "false"
    for name, text in unasked.items():
        if _value(body, spans, name) == _NULL:
            yield name, text


def _cap_name(body: bytes, spans: Mapping[str, Span], cap_field: str) -> str:
    """The key that the request's own cap has."""
    return next((name for name in CAPS if _value(body, spans, name) != _NULL), cap_field)


def _value(body: bytes, spans: Mapping[str, Span], name: str) -> bytes:
    """The JSON text of a member; a member that is absent is as good as null."""
    return _text(body, spans[name]) if name in spans else _NULL


def _usage_edits(body: bytes, spans: Mapping[str, Span]) -> list[Edit]:
    """Ask for usage in the `stream_options` that are there."""
    options = spans.get("stream_options")
    if options is None:
        return []
    if _text(body, options) == _NULL:
        return [_replacement(options, '{"include_usage":true}')]
    inside = members(body, options)
    if "include_usage" in inside:
        return [_replacement(inside["include_usage"], "true")]
    return [Edit(after_brace(body, options.start), 0, '"include_usage":true' + ("," if inside else ""))]


def _replacement(span: Span, text: str) -> Edit:
    return Edit(span.start, span.end - span.start, text)


def _text(body: bytes, span: Span) -> bytes:
    return body[span.start : span.end]
