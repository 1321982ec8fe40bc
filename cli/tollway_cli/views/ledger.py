"""`tollway ledger`: calls and what they cost; `tollway ledger verify`: does every counter add up from the journal?"""

import msgspec

from tollway_cli.failures import AnswerIsNo
from tollway_cli.views.answers import Calls, CallView, Verification
from tollway_cli.views.instance import Admin, Instance
from tollway_cli.views.output import Column, Form, show, table
from tollway_cli.views.wording import local_time, short_agent, usd

COLUMNS = (
    Column("AT"),
    Column("CALL"),
    Column("AGENT"),
    Column("PROVIDER"),
    Column("MODEL"),
    Column("OUTCOME"),
    Column("INPUT", right=True),
    Column("OUTPUT", right=True),
    Column("COST", right=True),
    Column("KNOWN FROM"),
)


def show_ledger(admin: Admin, form: Form, agent: str | None, since: int | None) -> None:
    """`agent` is a SPIFFE ID, `since` milliseconds since the epoch."""
    query = {key: value for key, value in (("agent", agent), ("since", since and str(since))) if value}
    answer = admin.get("/ledger", query)
    found = msgspec.json.decode(answer, type=Calls)
    show(
        msgspec.json.decode(answer),
        form,
        lambda: [table(COLUMNS, map(_row, found.calls)), _totals(found)] if found.calls else ["No call so far."],
    )


def spiffe_id_of(instance: Instance, agent: str | None) -> str | None:
    """The SPIFFE ID of `namespace/name` in the running instance; a SPIFFE ID stays as it is. Raises `WrongUsage`."""
    if agent is None or agent.startswith("spiffe://"):
        return agent
    return instance.spiffe_id(agent)


def _row(call: CallView) -> tuple[str, ...]:
    outcome = f"{call.outcome} ({call.reason})" if call.reason else call.outcome
    return (
        local_time(call.at),
        call.id,
        short_agent(call.agent),
        call.provider,
        call.model,
        outcome,
        _number(call.input_tokens),
        _number(call.output_tokens),
        "" if call.cost is None else usd(call.cost),
        call.source or "",
    )


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _totals(found: Calls) -> str:
    cost = found.totals.get("cost")
    spent = f", {usd(cost)} in all" if isinstance(cost, int) else ""
    return f"{len(found.calls)} call{'' if len(found.calls) == 1 else 's'}{spent}"


def show_verification(admin: Admin, form: Form) -> None:
    """Raises `AnswerIsNo` after showing what differs."""
    answer = admin.get("/ledger/verify")
    found = msgspec.json.decode(answer, type=Verification)
    sentence = "Every counter was recomputed from the journal"
    show(
        msgspec.json.decode(answer),
        form,
        lambda: [f"{sentence}: all add up."] if found.ok else [f"{sentence}:", *map(str, found.mismatches)],
    )
    if not found.ok:
        raise AnswerIsNo(
            f"{len(found.mismatches)} buckets of counters differ from the journal. The journal is what happened: "
            "keep the state directory, and report this"
        )
