"""Our lists of fields against the official SDK's own types: what is new there must be judged before it may pass."""

from typing import Any, get_args, get_type_hints

import pytest
from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartParam,
    ChatCompletionContentPartRefusalParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionMessage,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolUnionParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from tollway.providers.openai import fields
from tollway.providers.openai.usage import USAGE_FIELDS


def keys(*types: Any) -> set[str]:
    return {name for each in types for name in get_type_hints(each)}


def kinds(*types: Any) -> set[str]:
    return {value for each in types for value in get_args(get_type_hints(each)["type"])}


def test_every_field_of_a_request_is_judged_once() -> None:
    lists = [fields.READ, fields.HARMLESS, fields.FORBIDDEN.keys(), fields.EXTENSIONS]
    assert keys(CompletionCreateParamsNonStreaming) <= fields.READ | fields.HARMLESS | fields.FORBIDDEN.keys()
    assert sum(map(len, lists)) == len(set().union(*lists))


def test_every_field_that_passes_to_openai_is_one_of_its_own() -> None:
    assert keys(CompletionCreateParamsNonStreaming) >= fields.READ | fields.HARMLESS


def test_every_field_of_a_message_is_known() -> None:
    assert keys(*get_args(ChatCompletionMessageParam)) <= fields.MESSAGE


def test_a_message_that_the_sdk_received_can_be_sent_back() -> None:
    assert set(ChatCompletionMessage.model_fields) <= fields.MESSAGE
    assert "audio" in keys(ChatCompletionAssistantMessageParam)


def test_every_kind_of_content_is_judged() -> None:
    known = kinds(*get_args(ChatCompletionContentPartParam), ChatCompletionContentPartRefusalParam)
    assert known <= fields.TEXT_PARTS | fields.FORBIDDEN_PARTS.keys()


def test_every_field_of_a_text_part_is_known() -> None:
    assert keys(ChatCompletionContentPartTextParam, ChatCompletionContentPartRefusalParam) <= fields.TEXT_PART


def test_every_kind_of_tool_of_chat_completions_is_run_by_the_caller() -> None:
    assert kinds(*get_args(ChatCompletionToolUnionParam)) == fields.CALLERS_TOOLS


def test_every_stream_option_is_known() -> None:
    assert keys(ChatCompletionStreamOptionsParam) <= fields.STREAM_OPTIONS


def test_every_service_tier_is_known() -> None:
    tier = get_type_hints(CompletionCreateParamsNonStreaming)["service_tier"]
    assert set(get_args(get_args(tier)[0])) == fields.TIERS


@pytest.mark.parametrize(("name", "path"), USAGE_FIELDS.items(), ids=USAGE_FIELDS.keys())
def test_every_number_we_read_is_where_the_sdk_reads_it(name: str, path: tuple[str, ...]) -> None:
    model: Any = ChatCompletion
    for key in path[:-1]:
        model = next(kind for kind in get_args(model.model_fields[key].annotation) if kind is not type(None))
    assert path[-1] in model.model_fields


def test_every_count_that_the_sdk_knows_is_read_or_known_to_be_a_part_of_one() -> None:
    parts_of_the_total = {"text_tokens", "image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
    read = {path[-1] for path in USAGE_FIELDS.values()}
    details = [
        get_args(CompletionUsage.model_fields[name].annotation)[0]
        for name in ("prompt_tokens_details", "completion_tokens_details")
    ]
    assert {name for model in details for name in model.model_fields} <= read | parts_of_the_total
