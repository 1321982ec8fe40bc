"""From an access-log entry and the hold that it ends to amounts and their source.

The provider's own usage counts. Where it is missing the call is charged the most that it can have consumed after what
was seen of it, never more than its hold allowed. What passed through us is no such bound where an answer was cut: a
provider generates ahead of what it sends, and on until it notices that nobody listens. So a bound below the ceiling
stands on something certain only (docs/decisions/0006-bounds-without-usage.md).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tollway.ledger import holds
from tollway.ledger.port import Hold, Source
from tollway.ledger.units import Amounts
from tollway.pricing.table import PriceRow
from tollway.pricing.usage import Usage
from tollway.providers.port import Family
from tollway.values import value


@value(frozen=True, slots=True)
class CallEnd:
    """One access-log entry about one call.

    `status` is 0 where no answer came. `whole`: the provider's answer, of whatever status, came to its end.
    `reached_provider`: bytes of the request left for the provider. `received`: bytes of the answer that the provider
    sent, headers and framing included. `compressed`: they are fewer than what they stand for. `written_at`: when the
    entry was made, by the clock of the ledger's holds (milliseconds). `final` is False for the periodic entries of a
    long call, which only prove that it still runs.
    """

    call_id: str
    status: int
    whole: bool
    reached_provider: bool
    usage: Mapping[str, int | str]
    received: int = 0
    compressed: bool = False
    written_at: int = 0
    final: bool = True


NOTHING: Final = Amounts()
ONLY_ASKED: Final = Amounts(requests=1)

OUT_OF_TIME: Final = frozenset({408, 499, 504, 524})
"""Answers of somebody in front of the model that had waited long enough. The model may have worked all the while."""

_ANY_TIER: Final = "auto"
"""The word that no price row gives one price for: a tier nobody named costs what the dearest does."""


def account(end: CallEnd, hold: Hold, family: Family | None) -> tuple[Amounts, Source]:
    """What the ended call consumed, and the source of that knowledge."""
    usage = family.usage(end.usage) if family is not None else None
    if usage is not None and family is not None and _is_final(end, hold, family):
        cost = PriceRow.from_json(hold.facts.price).cost(usage)
        return _recordable(1, usage.input_tokens, usage.output_tokens, cost), Source.PROVIDER
    if not end.reached_provider:
        # Seen by ourselves: no byte left, so not even the request counts.
        return NOTHING, Source.METERED
    if _refused(end):
        # The provider refused or failed before it produced anything that it could bill.
        return ONLY_ASKED, Source.BOUNDED
    return _bounded(end, hold, _said_so_far(end, family))


def _said_so_far(end: CallEnd, family: Family | None) -> Usage | None:
    """What a cut stream had said. Some servers say zeros until they have counted: no prompt has no token."""
    said = family.usage_so_far(end.usage) if family is not None else None
    return said if said is not None and said.input_tokens > 0 else None


def _is_final(end: CallEnd, hold: Hold, family: Family) -> bool:
    """Whether nothing can have followed the usage that was said."""
    return end.whole or not hold.facts.stream or not family.counts_along


def _refused(end: CallEnd) -> bool:
    return end.whole and end.status >= 300 and end.status not in OUT_OF_TIME


def _bounded(end: CallEnd, hold: Hold, said: Usage | None) -> tuple[Amounts, Source]:
    """The most that it can have consumed, which is the ceiling of its hold where nothing says less."""
    ceiling = holds.ceiling(hold)
    output = min(ceiling.output_tokens, _most_output(end, hold))
    most = _priced(hold, ceiling.input_tokens, output) if said is None else _priced_as_said(hold, said, output)
    return most, Source.CEILING if most == ceiling else Source.BOUNDED


def _most_output(end: CallEnd, hold: Hold) -> int:
    """Tokens of output that the answer can hold: at most one a byte, if it is all there and nothing is hidden."""
    complete = end.whole and 200 <= end.status < 300
    bounded = complete and hold.facts.visible_output and not end.compressed and end.received > 0
    return end.received if bounded else hold.size * hold.facts.answers


def _priced(hold: Hold, input_tokens: int, output: int) -> Amounts:
    """At the dearest class of each: nobody said which."""
    facts = hold.facts
    cost = -(-(input_tokens * facts.input_rate + output * facts.output_rate) // 1000)
    return _recordable(1, input_tokens, output, cost)


def _priced_as_said(hold: Hold, said: Usage, output: int) -> Amounts:
    """The input as the provider counted it, class by class; the output at its dearest."""
    most = _priced(hold, said.input_tokens, max(output, said.output_tokens))
    asked = replace(said, output=0, audio_output=0, reasoning=0, tier=said.tier or _ANY_TIER)
    saved = said.input_tokens * hold.facts.input_rate // 1000 - PriceRow.from_json(hold.facts.price).cost(asked)
    return replace(most, cost=most.cost - max(saved, 0))


def _recordable(*amounts: int) -> Amounts:
    """No provider's number is too large to be counted."""
    return Amounts(*[min(each, holds.MAX_AMOUNT) for each in amounts])
