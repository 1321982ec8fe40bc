"""Requests and answers to begin with: the golden files of `tests/providers`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROVIDERS: Final = Path(__file__).parent.parent / "tests" / "providers"


def requests(family: str) -> Iterator[bytes]:
    """Bodies of requests to `family` ("openai" or "anthropic"), as they came and as they went on."""
    for path in sorted(PROVIDERS.glob(f"{family}/*/request.json")):
        yield path.read_bytes()
        yield path.with_name("forwarded.json").read_bytes()


def answers() -> Iterator[bytes]:
    """Bodies of answers of all families: JSON and event streams."""
    for path in sorted(PROVIDERS.glob("*/*/response.*")):
        yield path.read_bytes()


def usage_fields() -> Iterator[bytes]:
    """What Envoy might have extracted, as JSON."""
    yield json.dumps({"prompt_tokens": 12.0, "completion_tokens": 3.0, "service_tier": "default"}).encode()
    yield json.dumps({"message_input": 12, "message_output": 3, "message_ended": "end_turn"}).encode()
