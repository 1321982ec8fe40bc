"""`POST /v1/embeddings`: texts in, vectors out. There is no output to bound, and nothing to edit.

Texts have at most as many tokens as the body has bytes (see `chat_completions`); texts that come as tokens have as many
as are listed. Each is read apart from the others, so a model's context window bounds each and not their sum.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

from tollway.providers.json_scan import Body
from tollway.providers.openai.dialect import Described, Dialect
from tollway.providers.openai.fields import NOTHING
from tollway.providers.port import Edit, Operation, ParsedCall
from tollway.providers.reading import Fields, check_fields, model_name, read_request, wrong_type

EMBEDDINGS: Final = Operation("embeddings", streams=False)

READ: Final = frozenset({"input", "model"})
HARMLESS: Final = frozenset({"dimensions", "encoding_format", "user"})

EXTENSIONS: Final = frozenset(
    {
        "add_special_tokens",
        "embedding_type",
        "input_type",
        "keep_alive",
        "normalize",
        "output_dimension",
        "output_dtype",
        "task",
        "truncate",
        "truncate_prompt_tokens",
    }
)
"""What compatible servers know beyond OpenAI. `input_type` and `task` choose words in front of each text."""

_KNOWN: Final = READ | HARMLESS
_KNOWN_EXTENDED: Final = _KNOWN | EXTENSIONS
_LARGEST_TOKEN: Final = 2**31 - 1


def parse(body: bytes, content_type: str, dialect: Dialect) -> ParsedCall:
    """Raises `RequestRefused`."""
    request = read_request(body, content_type).values
    check_fields(request, _KNOWN_EXTENDED if dialect.extended else _KNOWN, "", NOTHING)
    texts, tokens = _measured(request)
    return ParsedCall(
        operation=EMBEDDINGS,
        model=model_name(request),
        stream=False,
        output_cap=0,
        answers=1,
        input_bound=(len(body) if tokens is None else tokens)
        + texts * dialect.tokens_per_text
        + dialect.tokens_per_request,
        wants_usage=False,
        prompts=texts,
    )


def edits(_call: ParsedCall, _body: Body, _cap: int | None, _dialect: Dialect) -> Sequence[Edit]:
    return []


DESCRIBED: Final = Described(EMBEDDINGS, parse, edits)


def _measured(request: Fields) -> tuple[int, int | None]:
    """How many texts there are, and of how many tokens, where they come as tokens."""
    given = request.get("input")
    if isinstance(given, str):
        return 1, None
    if not isinstance(given, list) or not given:
        _wrong_input()
    if all(isinstance(text, str) for text in given):
        return len(given), None
    if not isinstance(given[0], list):
        return 1, _tokens(given)
    return len(given), sum(_tokens(text) for text in given)


def _tokens(text: object) -> int:
    if not isinstance(text, list) or not all(type(token) is int and 0 <= token <= _LARGEST_TOKEN for token in text):
        _wrong_input()
    return len(text)


def _wrong_input() -> NoReturn:
    wrong_type("input", "a text, a list of texts, a list of tokens, or a list of lists of tokens")
