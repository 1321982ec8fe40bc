"""From an access-log entry and the hold that it ends to amounts and their source.

The provider's own usage counts. Where it is missing, the call is charged what it may have consumed at most: a provider
bills on after a caller hangs up, so what passed through us is no bound of what is billed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tollway.ledger.port import Hold, Source
from tollway.ledger.units import Amounts
from tollway.pricing.table import PriceRow
from tollway.providers.port import Family


@dataclass(frozen=True, slots=True)
class CallEnd:
    """One access-log entry about one call.

    `status` is 0 where no answer came. `reached_provider`: bytes of the request left for the provider. `final` is False
    for the periodic entries of a long stream, which only prove that the call still runs.
    """

    call_id: str
    status: int
    answered_by_provider: bool
    reached_provider: bool
    usage: Mapping[str, int | str]
    final: bool = True


NOTHING = Amounts()


def account(end: CallEnd, hold: Hold, family: Family | None) -> tuple[Amounts, Source]:
    """What the ended call consumed, and the source of that knowledge."""
    usage = family.usage(end.usage) if family is not None else None
    if usage is not None:
        cost = PriceRow.from_json(hold.facts.price).cost(usage)
        return Amounts(1, usage.input_tokens, usage.output_tokens, cost), Source.PROVIDER
    if not end.reached_provider:
        # Seen by ourselves: no byte left, so not even the request counts.
        return NOTHING, Source.METERED
    if end.answered_by_provider and end.status >= 400:
        # The provider refused or failed before it produced anything that it could bill.
        return Amounts(requests=1), Source.BOUNDED
    return hold.facts.ceiling(hold.size), Source.CEILING
