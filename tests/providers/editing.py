"""What the gateway does with edits: the body as it is forwarded."""

from collections.abc import Sequence

from tollway.providers.port import Edit


def spliced(body: bytes, edits: Sequence[Edit]) -> bytes:
    """Insists that edits are sorted and disjoint, as the splice in Envoy relies on."""
    pieces, position = [], 0
    for edit in edits:
        assert edit.offset >= position
        pieces += [body[position : edit.offset], edit.text.encode()]
        position = edit.offset + edit.length
    return b"".join([*pieces, body[position:]])
