"""When certificates are renewed and signing CAs change places: pure arithmetic on validity periods.

The numbers are SPIRE's. A signing CA lives 24 h; its successor is prepared at half of its life, so that everyone knows
the successor long before it signs, and activated at 5/6. What remains then, 4 h, is the longest life of a leaf: the
last leaf of a CA ends with it, and none is cut short.

All times are integer milliseconds since the Unix epoch. Validity periods are made of whole seconds, as X.509 has them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BACKDATE_MS: Final = 60_000
"""Certificates start this long before they are made: a peer's clock may be slow."""
CA_TTL_MS: Final = 24 * 3_600_000
MAX_LEAF_TTL_MS: Final = CA_TTL_MS // 6
LEAST_LEAF_MS: Final = 10 * 60_000
"""A CA with less left than this does not sign: its leaves would be gone before they could be renewed."""
PUBLISH_MS: Final = 60_000
"""A CA does not sign before it was prepared for this long: those who check its leaves must know it first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of one authority, ms. Another pace than the usual one makes a life of hours pass in seconds, for those
    who want to see what happens in it; everything else is the same."""

    ca_ttl: int = CA_TTL_MS
    backdate: int = BACKDATE_MS
    least_leaf: int = LEAST_LEAF_MS
    publish: int = PUBLISH_MS

    @property
    def longest_leaf(self) -> int:
        return self.ca_ttl // 6

    @property
    def drain(self) -> int:
        """After so long the last certificate of a CA that signs no more has expired, also for a peer whose clock is
        slow, and if an operator that lost its Lease took a moment to notice."""
        return self.longest_leaf + self.least_leaf


USUAL: Final = Pace()


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate is valid, both moments included."""

    not_before: int
    not_after: int

    def covers(self, now: int) -> bool:
        return self.not_before <= now <= self.not_after

    def can_sign(self, now: int, pace: Pace = USUAL) -> bool:
        """Whether a CA of this validity may issue leaves now."""
        return self.covers(now) and self.not_after - now >= pace.least_leaf

    def at(self, numerator: int, denominator: int) -> int:
        """The moment when this fraction of the life has passed."""
        return self.not_before + (self.not_after - self.not_before) * numerator // denominator


def renew_at(not_before: int, not_after: int, jitter: float) -> int:
    """When a leaf is renewed: between 30 and 40 % of its life, spread by `jitter` in [0, 1)."""
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter must be in [0, 1), not {jitter}")
    validity = Validity(not_before, not_after)
    earliest, latest = validity.at(30, 100), validity.at(40, 100)
    return earliest + int((latest - earliest) * jitter)


def ca_validity(now: int, root: Validity, pace: Pace = USUAL) -> Validity:
    """The validity of a signing CA made now: never outside its root's."""
    return _within(root, now, pace.ca_ttl, pace)


def leaf_validity(now: int, ttl_ms: int, issuer: Validity, pace: Pace = USUAL) -> Validity:
    """The validity of a leaf made now: never outside its issuer's, so it is shorter than `ttl_ms` near its end.

    `ttl_ms` above a sixth of a signing CA's life, or not positive, raises `ValueError`. At a faster pace than the usual
    one nothing lives longer than that pace allows.
    """
    if not 0 < ttl_ms <= MAX_LEAF_TTL_MS:
        raise ValueError(f"a certificate must live between 1 and {MAX_LEAF_TTL_MS} ms, not {ttl_ms}")
    return _within(issuer, now, min(ttl_ms, pace.longest_leaf), pace)


def _within(issuer: Validity, now: int, ttl_ms: int, pace: Pace) -> Validity:
    return Validity(
        max(_whole_seconds(now - pace.backdate), issuer.not_before),
        min(_whole_seconds(now + ttl_ms), issuer.not_after),
    )


def _whole_seconds(ms: int) -> int:
    return ms - ms % 1000


@dataclass(frozen=True, slots=True)
class Slots:
    """The signing CAs of one authority: who signs, who signs next, whose leaves may still live."""

    active: Validity
    prepared: Validity | None = None
    retired: tuple[Validity, ...] = ()


class Step(StrEnum):
    """What to do with the slots."""

    FORGET = "forget"
    """Drop the retired CAs that have expired."""
    ACTIVATE = "activate"
    """Retire the active CA; the prepared one takes its place."""
    REPLACE = "replace"
    """Retire both and activate a new CA at once: nobody can sign. After a long sleep, or a jump of the clock."""
    PREPARE = "prepare"
    """Make the successor."""
    KEEP = "keep"


def next_step(slots: Slots, root: Validity, now: int, pace: Pace = USUAL) -> Step:
    """The first thing that is due; to be asked again after doing it, until it says `KEEP`."""
    return next((step for step, is_due in _STEPS if is_due(slots, root, now, pace)), Step.KEEP)


def _has_expired_retired(slots: Slots, _root: Validity, now: int, _pace: Pace) -> bool:
    return any(now > retired.not_after for retired in slots.retired)


def _prepared_should_sign(slots: Slots, _root: Validity, now: int, pace: Pace) -> bool:
    if slots.prepared is None or not slots.prepared.can_sign(now, pace):
        return False
    was_published = now >= slots.prepared.not_before + pace.backdate + pace.publish
    return not slots.active.can_sign(now, pace) or (now >= slots.active.at(5, 6) and was_published)


def _nobody_can_sign(slots: Slots, _root: Validity, now: int, pace: Pace) -> bool:
    return not slots.active.can_sign(now, pace)


def _successor_is_missing(slots: Slots, root: Validity, now: int, pace: Pace) -> bool:
    # Near the end of the root's life a new CA would end together with the active one: no successor at all.
    outlives = ca_validity(now, root, pace).not_after > slots.active.not_after
    return slots.prepared is None and now >= slots.active.at(1, 2) and outlives


_STEPS: Final[tuple[tuple[Step, Callable[[Slots, Validity, int, Pace], bool]], ...]] = (
    (Step.FORGET, _has_expired_retired),
    (Step.ACTIVATE, _prepared_should_sign),
    (Step.REPLACE, _nobody_can_sign),
    (Step.PREPARE, _successor_is_missing),
)
