"""Checks that the requests of several operations share: of the model, the tier, caching, tools and content.

Functions take the request as plain values and a `param`, the path by which a refusal names the place, such as
`messages[1].content[0]`. All raise `RequestRefused`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NoReturn

from tollway.providers.openai import fields
from tollway.providers.openai.fields import Parts
from tollway.providers.reading import (
    Fields,
    Forbidden,
    Reason,
    check_fields,
    kind_of,
    list_of,
    model_name,
    object_of,
    one_of,
    refuse,
    refuse_forbidden,
    unknown,
    wrong_type,
)

_TEXT_PART: Final = frozenset({"text", "type"})

TOKENS_PER_MESSAGE: Final = 8
"""Markers around a message or an item, in front of which its JSON syntax has 20 bytes and more."""


def model_of(request: Fields) -> str:
    model = model_name(request)
    if _searches(model):
        refuse_forbidden(fields.SEARCHES, "A model that searches by itself", "model")
    return model


@lru_cache(1024)
def _searches(model: str) -> bool:
    return any(mark in model for mark in fields.SEARCHING_MODELS)


def tier_of(request: Fields) -> str:
    tier = request.get("service_tier")
    if isinstance(tier, str) and tier in fields.UNPRICED_TIERS:
        refuse_forbidden(fields.UNPRICED_TIERS[tier], f"The service tier {tier}", "service_tier")
    return one_of(request, "service_tier", fields.TIERS)


def check_caching(request: Fields) -> None:
    cached = options(request, "prompt_cache_options", fields.CACHE_OPTIONS, fields.FORBIDDEN_CACHE_OPTIONS)
    if cached.get("ttl") not in (None, fields.CACHE_TTL):
        param = "prompt_cache_options.ttl"
        refuse_forbidden(fields.LONG_CACHE, f"`{param}` of anything but {fields.CACHE_TTL}", param)


def options(
    request: Fields, name: str, known: frozenset[str], forbidden: Mapping[str, Forbidden] = fields.NOTHING
) -> Fields:
    """An object of known members; empty where there is none."""
    if request.get(name) is None:
        return {}
    found = object_of(request[name], name)
    check_fields(found, known, f"{name}.", forbidden)
    return found


def check_tools(request: Fields) -> None:
    if request.get("tools") is None:
        return
    for index, tool in enumerate(list_of(request["tools"], "tools")):
        if kind_of(object_of(tool, f"tools[{index}]"), f"tools[{index}]") not in fields.CALLERS_TOOLS:
            refuse(
                Reason.UNBOUNDED,
                "Only tools of the types `function` and `custom`, which the agent runs itself, can be used through "
                "Tollway: the request does not bound what a tool run by the provider costs.",
                f"tools[{index}].type",
            )


def check_content(content: object, param: str, parts: Parts) -> None:
    """A text, a list of parts that are all text, or nothing."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        wrong_type(param, "a text or a list of parts")
    for index, part in enumerate(content):
        _check_part(object_of(part, f"{param}[{index}]"), f"{param}[{index}]", parts)


def is_text(content: object, parts: Parts) -> bool:
    """Whether it is the usual content, of which `check_content` would say nothing: a text, or parts of nothing else."""
    if isinstance(content, list):
        return all(_is_text_part(part, parts) for part in content)
    return isinstance(content, str)


def _is_text_part(part: object, parts: Parts) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() == _TEXT_PART
        and isinstance(kind := part["type"], str)
        and kind in parts.texts
    )


def _check_part(part: Fields, param: str, parts: Parts) -> None:
    kind = kind_of(part, param)
    if kind not in parts.texts:
        _refuse_part(part, kind, param, parts)
    check_fields(part, parts.fields, f"{param}.", fields.NOTHING)


def _refuse_part(part: Fields, kind: str, param: str, parts: Parts) -> NoReturn:
    file = part.get("file")
    for place, holder in ((param, part), (f"{param}.file", file if isinstance(file, dict) else {})):
        if holder.get("file_id") is not None:
            refuse(
                Reason.STATEFUL,
                "Files stored at the provider cannot be used through Tollway: their size is not known here, and the "
                "key they lie under is shared.",
                f"{place}.file_id",
            )
    if kind not in parts.forbidden:
        unknown(f"{param}.type")
    refuse_forbidden(parts.forbidden[kind], f"A content part of type `{kind}`", param)
