"""Values that are made for every call.

A frozen dataclass sets each of its fields through a guard when it is made: ten times what the rest of making it costs.
Type checkers read `value` as `dataclass`, and refuse every assignment; at run time there is no guard to pay for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool = False) -> Callable[[type[T]], type[T]]:
        """`dataclass(frozen=True, ...)`, but for the guard: the same fields, equality, hash and `replace`."""
        assert frozen  # noqa: S101 - what is hashed by its fields must not change
        return lambda kind: dataclass(slots=slots, unsafe_hash="__hash__" not in vars(kind))(kind)


__all__ = ["value"]
