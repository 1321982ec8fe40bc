"""`tollway explain`: what was decided about a call and why, or what would be decided about a request."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tollway_cli.failures import AnswerIsNo, WrongUsage
from tollway_cli.views.answers import Explanation
from tollway_cli.views.instance import Admin, Instance
from tollway_cli.views.output import Column, Form, show, table
from tollway_cli.views.wording import local_time, short_agent, usd

if TYPE_CHECKING:
    from rich.console import RenderableType

QUESTION = frozenset({"agent", "provider", "path", "body"})
"""The keys of a whole question in a file; anything else is the body of a request."""


def explain_call(admin: Admin, form: Form, call_id: str) -> None:
    """What the journal says of one call. Raises `AnswerIsNo` for an id it does not know."""
    if (
        not call_id
        or not call_id.isascii()
        or not all(character.isalnum() or character in "-_." for character in call_id)
    ):
        raise WrongUsage(f"{call_id!r} is no call id: it is in the header x-tollway-call and in `tollway ledger`")
    _show(admin.get(f"/explain/{call_id}"), form)


def explain_request(admin: Admin, form: Form, question: Mapping[str, str]) -> None:
    """Each check and what it says to a request that is not sent. Raises `AnswerIsNo` when it would be refused."""
    explanation = _show(admin.post("/explain", question), form)
    if explanation.outcome == "refused":
        raise AnswerIsNo("this request would be refused")


def question_of(
    file: Path, instance: Instance, agent: str | None, provider: str | None, path: str | None
) -> Mapping[str, str]:
    """What to ask about `file`: a request body, or an object of agent, provider, path and body. Options win."""
    given = _read(file)
    whole = isinstance(given, dict) and "body" in given and given.keys() <= QUESTION
    stated = given if isinstance(given, dict) and whole else {"body": given}
    body = stated["body"]
    return {
        "agent": agent or _text(stated, "agent") or _only(instance.agents, "agent"),
        "provider": provider or _text(stated, "provider") or _only(instance.providers, "provider"),
        "path": path or _text(stated, "path") or "",
        "body": file.read_text("utf-8") if not whole else body if isinstance(body, str) else json.dumps(body),
    }


def _read(file: Path) -> object:
    try:
        content: object = json.loads(file.read_bytes())
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"{file} is not JSON: {error}") from error
    return content


def _text(stated: Mapping[str, object], key: str) -> str | None:
    found = stated.get(key)
    if found is not None and not isinstance(found, str):
        raise WrongUsage(f"{key} must be a string")
    return found


def _only(named: Callable[[], Sequence[str]], option: str) -> str:
    names = named()
    if len(names) != 1:
        raise WrongUsage(f"which {option}? Name it with --{option}: {', '.join(names) or f'there is no {option}'}")
    return names[0]


def _show(answer: bytes, form: Form) -> Explanation:
    explanation = msgspec.json.decode(answer, type=Explanation)
    show(msgspec.json.decode(answer), form, lambda: _sections(explanation))
    return explanation


def _sections(explanation: Explanation) -> "Iterable[RenderableType]":
    yield f"{explanation.id or 'This request'}: {explanation.outcome}" + (
        f" ({explanation.reason})" if explanation.reason else ""
    )
    if explanation.message:
        yield explanation.message
    yield table((Column("FACT"), Column("VALUE")), _facts(explanation))
    if explanation.checks:
        yield table((Column("CHECK"), Column("SAID")), ((check.name, check.said) for check in explanation.checks))
    if explanation.rows:
        yield table((Column("AT"), Column("JOURNAL"), Column("")), map(_journal_row, explanation.rows))


def _facts(explanation: Explanation) -> Iterable[tuple[str, str]]:
    if explanation.at is not None:
        yield "at", local_time(explanation.at)
    for name, value in explanation.facts.items():
        if value not in (None, "", [], {}) and name != "checks":
            yield name, short_agent(value) if name == "agent" and isinstance(value, str) else _value(name, value)


def _journal_row(row: Mapping[str, object]) -> tuple[str, str, str]:
    at = row.get("at")
    rest = (
        (name, value) for name, value in row.items() if name not in {"at", "kind"} and value not in (None, "", [], {})
    )
    return (
        local_time(at) if isinstance(at, int) else "",
        str(row.get("kind", "")),
        " ".join(f"{name}={_value(name, value)}" for name, value in rest),
    )


def _value(name: str, value: object) -> str:
    if name == "cost" and isinstance(value, int):
        return usd(value)
    return value if isinstance(value, str) else json.dumps(value)
