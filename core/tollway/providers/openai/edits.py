"""Which bytes of a body to change: the output cap, nothing stored, and what a request leaves open.

Everything outside these edits reaches the provider byte for byte as the caller wrote it. A new member goes right behind
the object's opening brace; a member that is there, even as `null`, is replaced in place, or its key would stand twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tollway.providers.json_scan import Body, Span, after_brace
from tollway.providers.port import Edit, ParsedCall

NULL: Final = b"null"
_TRUE: Final = b"true"
COMMON_EDITED: Final = ("store", "service_tier")
"""What `common_changes` may change beside the cap."""

Member = tuple[str, str]
"""A name and its JSON."""


class Rewriting:
    """A body that is being edited. `places` are those of all members that may be: only there it is looked at."""

    def __init__(self, body: Body, places: Mapping[str, Span]) -> None:
        self.body = body
        self.places = places

    def value(self, name: str) -> Body:
        """The JSON text of a member; a member that is absent is as good as null."""
        place = self.places.get(name)
        return NULL if place is None else self.text(place)

    def text(self, span: Span) -> Body:
        return self.body[span.start : span.end]

    def edits(self, changes: Iterable[Member], inside: Iterable[Edit] = ()) -> Sequence[Edit]:
        """Set the members `changes`; `inside` are edits within other members. Sorted and disjoint."""
        replaced = list(inside)
        inserted: list[str] = []
        for name, text in changes:
            if name in self.places:
                replaced.append(replacement(self.places[name], text))
            else:
                inserted.append(f'"{name}":{text},')
        if len(replaced) > 1:
            replaced.sort(key=lambda edit: edit.offset)
        return [Edit(after_brace(self.body), 0, "".join(inserted)), *replaced] if inserted else replaced


def replacement(span: Span, text: str) -> Edit:
    return Edit(span.start, span.end - span.start, text)


def common_changes(
    call: ParsedCall, rewriting: Rewriting, cap: int | None, cap_name: str, unasked: Mapping[str, str]
) -> Iterator[Member]:
    """What is set whatever the operation: a lower cap, no storage, and `unasked` where the request names none of it."""
    if cap is not None and (call.output_cap is None or cap < call.output_cap):
        yield cap_name, str(cap)
    if rewriting.value("store") == _TRUE:
        yield "store", "false"
    for name, text in unasked.items():
        if rewriting.value(name) == NULL:
            yield name, text
