"""What messages, system prompts and tools consist of: every block is known, and nothing in it can grow.

What the walk finds on its way is kept in `Found`: tokens that the bytes do not show, and the cache writes asked for.

An image is billed by its size in pixels and not by its bytes, and scaled down first where it is larger than a model
takes: to 4,784 tokens at most on the models that take the largest (Anthropic, "Images and vision", 2026).
The text of a thinking block may be a summary; the whole is in its signature, encrypted, so that it has no more bytes
than that. Settlement would show both, should they change.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tollway.pricing.usage import CacheWrites
from tollway.providers.anthropic import fields
from tollway.providers.reading import (
    Fields,
    Forbidden,
    Reason,
    check_fields,
    flag,
    kind_of,
    list_of,
    object_of,
    one_of,
    refuse,
    refuse_forbidden,
    unknown,
    wrong_type,
)

TOKENS_PER_IMAGE: Final = 4_784

_TEXT: Final = frozenset({"text", "type"})
_WRITES: Final = {"": CacheWrites.FIVE_MINUTES, "5m": CacheWrites.FIVE_MINUTES, "1h": CacheWrites.ONE_HOUR}


@dataclass(slots=True)
class Found:
    """What was seen so far. `hidden_tokens` is what the input has beyond, or below, its bytes."""

    hidden_tokens: int = 0
    cache_writes: CacheWrites = CacheWrites.NONE


def check_content(content: object, param: str, found: Found) -> None:
    """A text, or a list of blocks."""
    if isinstance(content, str):
        return
    for index, block in enumerate(list_of(content, param, "a text or a list of blocks")):
        where = f"{param}[{index}]"
        _check_block(object_of(block, where), where, found)


def is_text(content: object) -> bool:
    """Whether it is the usual content, of which `check_content` would say and find nothing."""
    if isinstance(content, list):
        return all(isinstance(block, dict) and block.keys() == _TEXT and block["type"] == "text" for block in content)
    return isinstance(content, str)


def check_tool(tool: Fields, param: str, found: Found) -> None:
    kind = "custom" if tool.get("type") is None else kind_of(tool, param)
    if kind not in fields.CALLERS_TOOLS:
        refuse(
            Reason.UNBOUNDED,
            "Only tools that the agent runs itself can be used through Tollway: the request does not bound what a tool "
            "run by the provider costs.",
            f"{param}.type",
        )
    check_fields(tool, fields.CALLERS_TOOL, f"{param}.")
    found.hidden_tokens += fields.CALLERS_TOOLS[kind]
    check_cache_control(tool, param, found)


def check_cache_control(holder: Fields, param: str, found: Found) -> None:
    """Whether `holder` asks for the prompt up to it to be written to the cache, and for how long."""
    control = holder.get("cache_control")
    if control is None:
        return
    where = f"{param}.cache_control" if param else "cache_control"
    control = object_of(control, where)
    check_fields(control, fields.CACHE_CONTROL, f"{where}.")
    if control.get("type") != "ephemeral":
        wrong_type(f"{where}.type", '"ephemeral"')
    lifetime = one_of(control, "ttl", fields.LIFETIMES, f"{where}.")
    found.cache_writes = max(found.cache_writes, _WRITES[lifetime])


def _check_block(block: Fields, param: str, found: Found) -> None:
    kind = kind_of(block, param)
    if kind in fields.FORBIDDEN_BLOCKS:
        refuse_forbidden(fields.FORBIDDEN_BLOCKS[kind], f"A content block of type `{kind}`", param)
    if kind not in fields.BLOCKS:
        unknown(f"{param}.type")
    check_fields(block, fields.BLOCKS[kind], f"{param}.")
    check_cache_control(block, param, found)
    if kind in _INSIDE:
        _INSIDE[kind](block, param, found)


def _check_result(block: Fields, param: str, found: Found) -> None:
    if block.get("content") is not None:
        check_content(block["content"], f"{param}.content", found)


def _check_search_result(block: Fields, param: str, found: Found) -> None:
    _refuse_citations(block, param)
    check_content(block.get("content"), f"{param}.content", found)


def _check_image(block: Fields, param: str, found: Found) -> None:
    source = _source(block, param, "An image", fields.FORBIDDEN_IMAGES, frozenset({"base64"}))
    check_fields(source, fields.BASE64_SOURCE, f"{param}.source.")
    one_of(source, "media_type", fields.IMAGE_TYPES, f"{param}.source.")
    data = source.get("data")
    if not isinstance(data, str):
        wrong_type(f"{param}.source.data", "a text")
    found.hidden_tokens += TOKENS_PER_IMAGE - len(data)


def _check_document(block: Fields, param: str, found: Found) -> None:
    _refuse_citations(block, param)
    source = _source(block, param, "A document", fields.FORBIDDEN_DOCUMENTS, frozenset({"content", "text"}))
    check_fields(source, fields.TEXT_SOURCE, f"{param}.source.")
    if source["type"] == "content":
        check_content(source.get("content"), f"{param}.source.content", found)


def _source(block: Fields, param: str, what: str, forbidden: Mapping[str, Forbidden], known: frozenset[str]) -> Fields:
    """Where an image or a document comes from."""
    source = object_of(block.get("source"), f"{param}.source")
    kind = kind_of(source, f"{param}.source")
    if kind in forbidden:
        refuse_forbidden(forbidden[kind], f"{what} of the source `{kind}`", f"{param}.source")
    if kind not in known:
        unknown(f"{param}.source.type")
    return source


def _refuse_citations(block: Fields, param: str) -> None:
    wanted = block.get("citations")
    if wanted is not None and flag(object_of(wanted, f"{param}.citations"), "enabled", f"{param}.citations."):
        refuse_forbidden(fields.CITED, "Citations", f"{param}.citations.enabled")


_INSIDE: Final[Mapping[str, Callable[[Fields, str, Found], None]]] = {
    "document": _check_document,
    "image": _check_image,
    "search_result": _check_search_result,
    "tool_result": _check_result,
}
