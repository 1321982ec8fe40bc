"""Our lists of fields against the official SDK's own types: what is new there must be judged before it may pass."""

from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types import (
    AnthropicBetaParam,
    Base64ImageSourceParam,
    CacheControlEphemeralParam,
    ContentBlock,
    ContentBlockParam,
    DocumentBlockParam,
    ImageBlockParam,
    Message,
    MessageCountTokensParams,
    MessageDeltaUsage,
    MessageParam,
    MessageTokensCount,
    OutputConfigParam,
    PlainTextSourceParam,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    ThinkingConfigParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUnionParam,
    Usage,
)
from anthropic.types import beta as betas
from anthropic.types.message_create_params import MessageCreateParamsStreaming

from tollway.providers.anthropic import fields
from tollway.providers.anthropic.features import BETAS
from tollway.providers.anthropic.usage import USAGE_FIELDS

SENT_AS_HEADERS = {"user_profile_id", "workspace_id"}
OF_OLDER_SDKS = {"temperature", "top_k", "top_p"}


def keys(*types: Any) -> set[str]:
    return {name for each in types for name in get_type_hints(each)}


def kinds(*types: Any) -> set[str]:
    return {value for each in types for value in _words(get_type_hints(each).get("type"))}


def _words(hint: Any) -> set[str]:
    """The words of a literal type, however it is wrapped."""
    return {hint} if isinstance(hint, str) else {word for each in get_args(hint) for word in _words(each)}


def test_every_field_of_a_request_is_judged_once() -> None:
    lists = [fields.READ, fields.HARMLESS, fields.FORBIDDEN.keys()]
    assert keys(MessageCreateParamsStreaming) - SENT_AS_HEADERS <= set().union(*lists)
    assert sum(map(len, lists)) == len(set().union(*lists))


def test_every_field_that_only_the_beta_side_has_is_refused() -> None:
    only = keys(betas.message_create_params.MessageCreateParamsStreaming) - keys(MessageCreateParamsStreaming)
    assert only - {"betas", "output_format"} <= fields.FORBIDDEN.keys()


def test_every_field_that_passes_is_one_of_anthropics_own() -> None:
    assert (
        keys(MessageCreateParamsStreaming) - fields.FORBIDDEN.keys() - (SENT_AS_HEADERS) | OF_OLDER_SDKS
        == fields.READ | fields.HARMLESS
    )


def test_every_field_of_a_count_is_judged() -> None:
    assert keys(MessageCountTokensParams) - SENT_AS_HEADERS == fields.COUNTED


def test_every_field_of_a_message_is_known() -> None:
    assert keys(*get_args(MessageParam)) == fields.MESSAGE


def test_every_kind_of_block_is_judged() -> None:
    inside = get_args(get_args(get_type_hints(ToolResultBlockParam)["content"])[1])[0]
    known = kinds(*get_args(ContentBlockParam), *get_args(inside))
    assert known == fields.BLOCKS.keys() | fields.FORBIDDEN_BLOCKS.keys()


@pytest.mark.parametrize("kind", fields.BLOCKS)
def test_every_field_of_a_block_is_known(kind: str) -> None:
    (block,) = [each for each in get_args(ContentBlockParam) if kinds(each) == {kind}]
    assert keys(block) == fields.BLOCKS[kind]


def test_a_message_that_the_sdk_received_can_be_sent_back() -> None:
    for block in get_args(get_args(ContentBlock)[0]):
        (kind,) = get_args(block.model_fields["type"].annotation)
        if kind in fields.BLOCKS:
            assert set(block.model_fields) <= fields.BLOCKS[kind]
        else:
            assert kind in fields.FORBIDDEN_BLOCKS


def test_every_source_of_images_and_documents_is_judged() -> None:
    images = kinds(*get_args(get_type_hints(ImageBlockParam)["source"]))
    documents = kinds(*get_args(get_type_hints(DocumentBlockParam)["source"]))
    assert images == {"base64"} | fields.FORBIDDEN_IMAGES.keys()
    assert documents == {"content", "text"} | fields.FORBIDDEN_DOCUMENTS.keys()
    assert keys(Base64ImageSourceParam) == fields.BASE64_SOURCE
    assert keys(PlainTextSourceParam) < fields.TEXT_SOURCE


def test_every_kind_of_tool_is_run_by_the_caller_or_refused() -> None:
    passing = {kind for kind in kinds(*get_args(ToolUnionParam)) if kind in fields.CALLERS_TOOLS}
    run_by_the_provider_or_answered_in_images = (
        "browser_", "code_execution_", "computer_", "tool_search_", "web_fetch_", "web_search_",
    )  # fmt: skip
    assert passing == fields.CALLERS_TOOLS.keys()
    others = kinds(*get_args(ToolUnionParam)) - passing
    assert [kind for kind in others if not kind.startswith(run_by_the_provider_or_answered_in_images)] == []


def test_every_field_of_a_callers_tool_is_known() -> None:
    tools = [each for each in get_args(ToolUnionParam) if kinds(each) & fields.CALLERS_TOOLS.keys()]
    assert ToolParam in tools
    assert keys(*tools) == fields.CALLERS_TOOL


def test_every_option_is_known() -> None:
    thinking = get_args(ThinkingConfigParam)
    assert keys(*thinking) == fields.THINKING
    assert kinds(*thinking) == fields.THOUGHTS
    assert keys(OutputConfigParam) == fields.OUTPUT_CONFIG
    assert keys(CacheControlEphemeralParam) == fields.CACHE_CONTROL
    assert _words(get_type_hints(CacheControlEphemeralParam)["ttl"]) == fields.LIFETIMES
    assert _words(get_type_hints(Base64ImageSourceParam)["media_type"]) == fields.IMAGE_TYPES
    hints = get_type_hints(MessageCreateParamsStreaming)
    assert _words(hints["service_tier"]) == fields.TIERS
    assert _words(hints["speed"]) == fields.SPEEDS


def test_the_features_that_may_travel_are_not_misspelt() -> None:
    undocumented_in_the_sdk = {"effort-2025-11-24", "fine-grained-tool-streaming-2025-05-14"}
    assert BETAS - undocumented_in_the_sdk <= _words(AnthropicBetaParam)


@pytest.mark.parametrize(("name", "path"), USAGE_FIELDS.items(), ids=USAGE_FIELDS.keys())
def test_every_number_we_read_is_where_the_sdk_reads_it(name: str, path: tuple[str, ...]) -> None:
    events = (Message, RawMessageStartEvent, RawMessageDeltaEvent, MessageTokensCount)
    assert any(_leads_somewhere(event, path) for event in events)


def _leads_somewhere(model: Any, path: tuple[str, ...]) -> bool:
    for key in path[:-1]:
        found = getattr(model, "model_fields", {}).get(key)
        if found is None:
            return False
        model = next((kind for kind in get_args(found.annotation) if kind is not type(None)), found.annotation)
    return path[-1] in getattr(model, "model_fields", {})


def test_every_count_that_the_sdk_knows_is_read_or_cannot_occur() -> None:
    of_tools_that_the_provider_runs = {"server_tool_use"}
    members = set(Usage.model_fields) | set(MessageDeltaUsage.model_fields)
    read = {path[1] for path in USAGE_FIELDS.values() if path[0] == "usage"}
    assert members == read | of_tools_that_the_provider_runs
