"""Checks of what is counted: the clock, the ledger, holds, settlements, the access log, prices."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.snapshot import Snapshot, Standing
from tollway_cli.views.wording import local_time

SKEW_MS: Final = 2_000
HOLD_GRACE_MS: Final = 5_000
"""Holds past their deadline are looked for every second."""
LOG_GRACE_MS: Final = 5_000
LOG_MOST_BEHIND: Final = 4 << 20
PRICES_OLD_DAYS: Final = 60


def clock(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    return list(_clock(s))


def _clock(s: Snapshot) -> Iterator[Finding]:
    standing = s.standing
    if standing is None:
        return
    if skew := skewed(standing):
        yield wrong("extauthz", f"{skew}: this machine's was set since", s.restart)
    if standing.latest is not None and standing.latest - s.now > SKEW_MS:
        said = f"its last row is of {local_time(standing.latest)}, in the future: no window moves on until then"
        yield wrong("the ledger", said, "set this machine's clock; if it is right, wait until then")


def skewed(standing: Standing) -> str:
    """Says how far its clock and this machine's are apart; nothing where that is little."""
    skew = standing.now - standing.asked_at
    if abs(skew) <= SKEW_MS:
        return ""
    return f"its clock is {abs(skew) / 1000:.0f} s {'ahead' if skew > 0 else 'behind'}"


def ledger(s: Snapshot) -> Sequence[Finding] | None:
    if s.mismatches is None:
        return None
    if s.mismatches == 0:
        return []
    said = f"{s.mismatches} buckets of counters differ from what the journal adds up to"
    return [wrong("the ledger", said, f"keep the state directory and report this, with: {s.tollway('ledger verify')}")]


def holds(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    overdue = overdue_hold(s.standing)
    return [wrong("the ledger", overdue, s.restart)] if overdue else []


def overdue_hold(standing: Standing) -> str:
    deadline = standing.first_deadline
    if deadline is None or standing.now - deadline <= HOLD_GRACE_MS:
        return ""
    return f"a hold is open past its deadline ({local_time(deadline)}): what it holds is not given back"


def settlements(s: Snapshot) -> Sequence[Finding] | None:
    if s.settled_at_ceiling is None or s.over_ceiling is None:
        return None
    found = []
    if s.over_ceiling:
        said = f"{s.over_ceiling} calls since it started consumed more than they held (counted in full)"
        found.append(
            wrong("settlements", said, f"say bound: Provable in the AIQuota; see which: {s.tollway('ledger')}")
        )
    if s.settled_at_ceiling:
        said = (
            f"{s.settled_at_ceiling} calls since it started were charged at their ceiling: no usage was told for them"
        )
        found.append(hint("settlements", said, f"see which (KNOWN FROM ceiling): {s.tollway('ledger')}"))
    return found


def access_log(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    behind = backlog(s.standing, s.now)
    return [wrong("extauthz", behind, s.restart)] if behind else []


def backlog(standing: Standing, now: int) -> str:
    """`now` by the clock of the data plane's machine."""
    behind = standing.log_behind
    is_late = now - standing.log_written_at > LOG_GRACE_MS
    if behind == 0 or (behind < LOG_MOST_BEHIND and not is_late):
        return ""
    return f"{behind:,} bytes of the gateway's access log are not taken yet, so their calls are not settled"


def prices(s: Snapshot) -> Sequence[Finding]:
    return list(_prices(s))


def _prices(s: Snapshot) -> Iterator[Finding]:
    made = datetime.fromisoformat(s.prices.date).replace(tzinfo=UTC)
    days = (s.now // 1000 - int(made.timestamp())) // 86_400
    if days > PRICES_OLD_DAYS:
        said = f"it is {days} days old: newer models have no price, and prices may have changed"
        yield hint("the price table", said, "install a newer Tollway, or state prices under spec.prices")
    for provider, lines in s.prices.unpriced.items():
        for line in lines:
            said = f"its list allows {line}, but no price is known for it: such calls are refused (model.unpriced)"
            yield wrong(f"AIProvider {provider}", said, "state it under spec.prices, or map it under spec.models")
