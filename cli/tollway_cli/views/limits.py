"""`tollway limits`: every counter, its limit, what is used, held and left, and when it resets."""

import msgspec

from tollway_cli.views.answers import CounterView, Limits
from tollway_cli.views.instance import Admin
from tollway_cli.views.output import Column, Form, show, table
from tollway_cli.views.wording import amount, duration, local_time

COLUMNS = (
    Column("QUOTA"),
    Column("LIMIT"),
    Column("PER"),
    Column("UNIT"),
    Column("WINDOW"),
    Column("AMOUNT", right=True),
    Column("USED", right=True),
    Column("HELD", right=True),
    Column("LEFT", right=True),
    Column("RESETS AT"),
)


def show_limits(admin: Admin, form: Form) -> None:
    answer = admin.get("/limits")
    counters = msgspec.json.decode(answer, type=Limits).counters
    show(
        msgspec.json.decode(answer),
        form,
        lambda: [table(COLUMNS, map(_row, counters))] if counters else ["No call was counted yet."],
    )


def _row(counter: CounterView) -> tuple[str, ...]:
    def shown(value: int) -> str:
        return amount(value, counter.unit)

    return (
        f"{counter.namespace}/{counter.quota}",
        counter.limit,
        " ".join(f"{key}={value}" for key, value in sorted(counter.per.items())),
        counter.unit,
        _window(counter),
        shown(counter.amount),
        shown(counter.used),
        shown(counter.held),
        shown(counter.remaining),
        local_time(counter.resets_at),
    )


def _window(counter: CounterView) -> str:
    if counter.unit == "concurrent":
        return ""
    if counter.window_ms:
        return duration(counter.window_ms)
    zone = counter.time_zone
    return f"{counter.window} {zone}" if zone not in {None, "", "UTC"} else counter.window or ""
