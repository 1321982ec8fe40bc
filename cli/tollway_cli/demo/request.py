"""Reading a request as OpenAI does, and its errors in OpenAI's words and shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec

MOST_CHOICES: Final = 128

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: list[object]
    tools: list[object]
    stream: bool
    include_usage: bool
    cap: int | None
    answers: int
    tier: str


class ApiError(Exception):
    """An answer with an error, as the API gives it."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


def read_chat_request(body: bytes) -> ChatRequest:
    """Raises `ApiError`."""
    fields = object_of(body)
    stream = fields.get("stream") is True
    return ChatRequest(
        model=model_of(fields),
        messages=_messages(fields),
        tools=list_of(fields, "tools"),
        stream=stream,
        include_usage=_include_usage(fields, stream=stream),
        cap=_cap(fields),
        answers=whole_number(fields, "n", MOST_CHOICES) or 1,
        tier=tier_of(fields),
    )


def object_of(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "The body of this request could not be parsed as a JSON object.") from None


def wrong(param: str, expected: str) -> NoReturn:
    raise ApiError(400, f"Invalid value for '{param}': expected {expected}.", "invalid_value", param)


def model_of(fields: Fields) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(400, "You must provide a model parameter.", param="model")
    return model


def _messages(fields: Fields) -> list[object]:
    messages = list_of(fields, "messages")
    if not messages:
        wrong("messages", "at least one message")
    return messages


def list_of(fields: Fields, name: str) -> list[object]:
    value = fields.get(name)
    if value is not None and not isinstance(value, list):
        wrong(name, "an array")
    return value or []


def _include_usage(fields: Fields, *, stream: bool) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise ApiError(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if not isinstance(options, dict):
        wrong("stream_options", "an object")
    return options.get("include_usage") is True


def _cap(fields: Fields) -> int | None:
    caps = [whole_number(fields, name, 2**31 - 1) for name in ("max_completion_tokens", "max_tokens")]
    if None not in caps:
        raise ApiError(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "invalid_parameter_combination",
            "max_tokens",
        )
    return caps[0] if caps[1] is None else caps[1]


def whole_number(fields: Fields, name: str, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= most:
        wrong(name, f"an integer between 1 and {most}")
    return value


def tier_of(fields: Fields) -> str:
    """The tier that serves the call."""
    match fields.get("service_tier"):
        case "flex" | "scale" | "priority" as tier:
            return str(tier)
        case "fast":
            return "priority"
        case _:
            return "default"
