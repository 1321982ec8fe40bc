"""The shape of what the admin socket answers, as far as tables show it. JSON and YAML pass the answer on as it is.

Money is integer nano-USD, times are milliseconds since the epoch. Unknown fields are ignored: an older command can look
at a newer instance.
"""

import msgspec


class CounterView(msgspec.Struct, frozen=True):
    namespace: str
    quota: str
    limit: str
    unit: str
    amount: int
    used: int
    held: int
    remaining: int
    window: str | None = None
    window_ms: int | None = None
    time_zone: str | None = None
    per: dict[str, str] = {}
    resets_at: int | None = None
    key: str = ""


class Limits(msgspec.Struct, frozen=True):
    counters: list[CounterView]


class CallView(msgspec.Struct, frozen=True):
    id: str
    at: int
    agent: str
    provider: str
    model: str
    outcome: str
    namespace: str = ""
    operation: str = ""
    stream: bool = False
    reason: str | None = None
    source: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: int | None = None
    size: int | None = None


class Calls(msgspec.Struct, frozen=True):
    calls: list[CallView]
    totals: dict[str, object] = {}


class Verification(msgspec.Struct, frozen=True):
    ok: bool
    mismatches: list[object] = []


class CheckView(msgspec.Struct, frozen=True):
    name: str
    said: str


class Explanation(msgspec.Struct, frozen=True):
    id: str
    outcome: str
    at: int | None = None
    reason: str | None = None
    message: str | None = None
    facts: dict[str, object] = {}
    checks: list[CheckView] = []
    rows: list[dict[str, object]] = []


class TopRow(msgspec.Struct, frozen=True):
    """What one agent did with one model within the window; `open` and `held` are of this moment."""

    agent: str
    provider: str
    model: str
    calls: int
    refused: int
    open: int
    input_tokens: int
    output_tokens: int
    cost: int
    held: int
    calls_per_second: float
    cost_per_minute: int
    namespace: str = ""


class TopTotals(msgspec.Struct, frozen=True):
    calls: int
    refused: int
    open: int
    input_tokens: int
    output_tokens: int
    cost: int
    held: int
    calls_per_second: float
    cost_per_minute: int


class Top(msgspec.Struct, frozen=True):
    at: int
    window_ms: int
    rows: list[TopRow]
    totals: TopTotals
    tightest: dict[str, CounterView] = {}
    """SPIFFE ID -> the limit with the least share left."""
