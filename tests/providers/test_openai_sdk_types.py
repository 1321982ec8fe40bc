"""Our lists of fields against the official SDK's own types: what is new there must be judged before it may pass."""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import pytest
from openai.types import CreateEmbeddingResponse
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
from openai.types.chat import completion_create_params as chat_params
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses import (
    EasyInputMessageParam,
    Response,
    ResponseCompletedEvent,
    ResponseCustomToolCall,
    ResponseFunctionToolCall,
    ResponseInputContentParam,
    ResponseInputItemParam,
    ResponseInputTextParam,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningItem,
    ToolParam,
    response_create_params,
)
from openai.types.shared_params import Reasoning

from tollway.providers.openai import chat_fields, embeddings, fields, response_fields
from tollway.providers.openai.usage import USAGE_FIELDS

CHAT = chat_params.CompletionCreateParamsNonStreaming
RESPONSE = response_create_params.ResponseCreateParamsNonStreaming


def keys(*types: Any) -> set[str]:
    return {name for each in types for name in get_type_hints(each)}


def kinds(*types: Any) -> set[str]:
    return {value for each in types for value in literals(get_type_hints(each)["type"])}


def literals(hint: Any) -> set[str]:
    """The words of a `Literal`, also within an `Optional`."""
    return {word for each in get_args(hint) for word in ([each] if isinstance(each, str) else literals(each))}


OPERATIONS: dict[str, tuple[Any, frozenset[str], frozenset[str], Mapping[str, Any], frozenset[str]]] = {
    "chat completions": (
        CHAT, chat_fields.READ, chat_fields.HARMLESS, chat_fields.FORBIDDEN, chat_fields.EXTENSIONS
    ),
    "responses": (
        RESPONSE, response_fields.READ, response_fields.HARMLESS, response_fields.FORBIDDEN,
        response_fields.EXTENSIONS,
    ),
    "embeddings": (
        EmbeddingCreateParams, embeddings.READ, embeddings.HARMLESS, {}, embeddings.EXTENSIONS
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize(
    ("params", "read", "harmless", "forbidden", "extensions"), OPERATIONS.values(), ids=OPERATIONS.keys()
)


@EACH
def test_every_field_of_a_request_is_judged_once(
    params: Any,
    read: frozenset[str],
    harmless: frozenset[str],
    forbidden: Mapping[str, Any],
    extensions: frozenset[str],
) -> None:
    lists = [read, harmless, forbidden.keys(), extensions]
    assert keys(params) <= read | harmless | forbidden.keys()
    assert sum(map(len, lists)) == len(set().union(*lists))


@EACH
def test_every_field_that_passes_to_openai_is_one_of_its_own(
    params: Any,
    read: frozenset[str],
    harmless: frozenset[str],
    forbidden: Mapping[str, Any],
    extensions: frozenset[str],
) -> None:
    del forbidden, extensions
    assert keys(params) >= read | harmless


def test_every_field_of_a_message_is_known() -> None:
    assert keys(*get_args(ChatCompletionMessageParam)) <= chat_fields.MESSAGE


def test_a_message_that_the_sdk_received_can_be_sent_back() -> None:
    assert set(ChatCompletionMessage.model_fields) <= chat_fields.MESSAGE
    assert "audio" in keys(ChatCompletionAssistantMessageParam)


def test_every_kind_of_content_is_judged() -> None:
    known = kinds(*get_args(ChatCompletionContentPartParam), ChatCompletionContentPartRefusalParam)
    assert known <= chat_fields.PARTS.texts | chat_fields.PARTS.forbidden.keys()
    known = kinds(*get_args(ResponseInputContentParam))
    assert known <= response_fields.PARTS.texts | response_fields.PARTS.forbidden.keys()


def test_every_field_of_a_text_part_is_known() -> None:
    assert keys(ChatCompletionContentPartTextParam, ChatCompletionContentPartRefusalParam) <= chat_fields.PARTS.fields
    assert keys(ResponseInputTextParam) <= response_fields.PARTS.fields
    assert (
        set(ResponseOutputText.model_fields) | set(ResponseOutputRefusal.model_fields) <= response_fields.PARTS.fields
    )


def test_every_kind_of_item_is_judged_once() -> None:
    known = kinds(*get_args(ResponseInputItemParam))
    assert known == response_fields.ITEMS.keys() | response_fields.FORBIDDEN_ITEMS.keys()
    assert not response_fields.ITEMS.keys() & response_fields.FORBIDDEN_ITEMS.keys()


def test_every_field_of_an_item_that_passes_is_known() -> None:
    for each in get_args(ResponseInputItemParam):
        for kind in kinds(each) & response_fields.ITEMS.keys():
            assert keys(each) <= response_fields.ITEMS[kind].fields, each
    assert keys(EasyInputMessageParam) <= response_fields.ITEMS["message"].fields


@pytest.mark.parametrize(
    "model", [ResponseOutputMessage, ResponseFunctionToolCall, ResponseCustomToolCall, ResponseReasoningItem]
)
def test_an_item_that_the_sdk_received_can_be_sent_back(model: Any) -> None:
    (kind,) = get_args(model.model_fields["type"].annotation)
    sent = {field.alias or name for name, field in model.model_fields.items()}
    assert sent <= response_fields.ITEMS[kind].fields


def test_every_kind_of_tool_of_chat_completions_is_run_by_the_caller() -> None:
    assert kinds(*get_args(ChatCompletionToolUnionParam)) == fields.CALLERS_TOOLS


def test_the_tools_that_the_caller_runs_are_tools_of_responses_too() -> None:
    assert kinds(*get_args(ToolParam)) > fields.CALLERS_TOOLS


def test_every_option_is_known() -> None:
    cache_options = fields.CACHE_OPTIONS | fields.FORBIDDEN_CACHE_OPTIONS.keys()
    assert keys(ChatCompletionStreamOptionsParam) <= chat_fields.STREAM_OPTIONS
    assert keys(response_create_params.StreamOptions) == response_fields.STREAM_OPTIONS
    assert keys(response_create_params.PromptCacheOptions, chat_params.PromptCacheOptions) == cache_options
    assert keys(Reasoning) == response_fields.REASONING


def test_every_service_tier_is_known() -> None:
    for params in (CHAT, RESPONSE):
        assert literals(get_type_hints(params)["service_tier"]) - fields.UNPRICED_TIERS.keys() == fields.TIERS


ANSWERS = (ChatCompletion, Response, ResponseCompletedEvent, CreateEmbeddingResponse)


@pytest.mark.parametrize(("name", "path"), USAGE_FIELDS.items(), ids=USAGE_FIELDS.keys())
def test_every_number_we_read_is_where_the_sdk_reads_it(name: str, path: tuple[str, ...]) -> None:
    assert any(_has(model, path) for model in ANSWERS), name


def _has(model: Any, path: tuple[str, ...]) -> bool:
    for key in path[:-1]:
        if key not in model.model_fields:
            return False
        annotation = model.model_fields[key].annotation
        model = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
    return path[-1] in model.model_fields


@pytest.mark.parametrize(
    ("answer", "details"),
    [
        (ChatCompletion, ("prompt_tokens_details", "completion_tokens_details")),
        (Response, ("input_tokens_details", "output_tokens_details")),
    ],
)
def test_every_count_that_the_sdk_knows_is_read_or_known_to_be_a_part_of_one(
    answer: Any, details: tuple[str, str]
) -> None:
    parts_of_another = {
        "text_tokens", "image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens",
        "cache_write_tokens_details",
    }  # fmt: skip
    (usage,) = (kind for kind in get_args(answer.model_fields["usage"].annotation) if kind is not type(None))
    read = {path[-1] for path in USAGE_FIELDS.values()}
    for name in details:
        annotation = usage.model_fields[name].annotation
        model = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
        assert model.model_fields.keys() <= read | parts_of_another
