"""The price data that ships with Tollway, and the one function that reads it.

`prices.json` and `model_limits.json` are generated (`tools/generate_prices.py`) and committed. The core does no I/O;
reading this package's own data is the one exception, made here so that every shell finds the same book.
"""

from functools import cache
from importlib.resources import files

from tollway.pricing.files import parse_book
from tollway.pricing.table import PriceBook


@cache
def default_book() -> PriceBook:
    """The book of this release. Read once per process. Raises `PriceDataError` if the files were altered."""
    data = files(__name__)
    return parse_book((data / "prices.json").read_bytes(), (data / "model_limits.json").read_bytes())
