"""Money as decimal strings, read into integers exactly: what an integer cannot hold is refused, never rounded."""

import re
from typing import Final

from tollway.resources.fields import Wrong

_COST: Final = re.compile(r"(0|[1-9][0-9]{0,5}|[1-8][0-9]{6})(?:\.([0-9]{1,9}))?|(9000000)(?:\.0{1,9})?")
_PRICE: Final = re.compile(r"(0|[1-9][0-9]{0,5})(?:\.([0-9]{1,6}))?")


def nano_usd(text: str) -> int:
    """`"25.00"` USD as 25_000_000_000 nano-USD."""
    match = _COST.fullmatch(text)
    if match is None:
        raise Wrong(
            'must be an amount in USD from "0" to "9000000", plain digits with at most 9 decimals, as in "25.00"'
        )
    return _scaled(match[1] or match[3], match[2], 9)


def pico_usd_per_token(text: str) -> int:
    """`"0.10"` USD per million tokens as 100_000 pico-USD per token."""
    match = _PRICE.fullmatch(text)
    if match is None:
        raise Wrong(
            'must be USD per million tokens from "0" to "999999.999999", '
            'plain digits with at most 6 decimals, as in "0.10"'
        )
    return _scaled(match[1], match[2], 6)


def _scaled(integer: str, decimals: str | None, places: int) -> int:
    return int(integer + (decimals or "").ljust(places, "0"))
