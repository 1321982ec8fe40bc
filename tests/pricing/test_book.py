"""The book of prices: which names it knows, and that its files are what the generator wrote."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from tollway.pricing import data
from tollway.pricing.data import default_book
from tollway.pricing.files import PriceDataError, digest_of, parse_book, parse_limits, parse_prices
from tollway.pricing.table import ModelLimits, PricedModel

BOOK = default_book()
PRICES = (files(data) / "prices.json").read_bytes()
LIMITS = (files(data) / "model_limits.json").read_bytes()
GENERATOR = Path(__file__).parents[2] / "tools" / "generate_prices.py"


def find(provider_type: str, model: str) -> PricedModel:
    found = BOOK.find(provider_type, model)
    assert found is not None, model
    return found


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("gpt-4o-mini", ModelLimits(128_000, 16_384, hidden_output=False)),
        ("gpt-4.1-mini", ModelLimits(1_047_576, 32_768, hidden_output=False)),
        ("gpt-5-mini", ModelLimits(400_000, 128_000, hidden_output=True)),
        ("o3-mini", ModelLimits(200_000, 100_000, hidden_output=True)),
        ("text-embedding-3-small", ModelLimits(8_192, None, hidden_output=False)),
    ],
)
def test_the_sizes_of_a_model_are_known(model: str, limits: ModelLimits) -> None:
    assert find("OpenAI", model).limits == limits


@pytest.mark.parametrize(
    ("provider_type", "model", "row"),
    [
        pytest.param("OpenAI", "gpt-4o-2024-08-06", "gpt-4o", id="dated"),
        pytest.param("OpenAI", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13", id="dated-and-dearer"),
        pytest.param("OpenAI", "GPT-4o-Mini", "gpt-4o-mini", id="any-case"),
        pytest.param("OpenAI", "gpt-6-sol-2027-02-03", "gpt-6-sol", id="any-date-the-source-allows"),
        pytest.param("Anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5", id="compact-date"),
        pytest.param("AzureOpenAI", "gpt-5-mini", "gpt-5-mini", id="azure-sells-openai"),
        pytest.param("Vertex", "claude-haiku-4-5@20251001", "claude-haiku-4-5", id="vertex-sells-claude"),
        pytest.param("Bedrock", "us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", id="bedrock-profile"),
    ],
)
def test_a_name_is_priced_by_the_row_that_the_source_gives_it(provider_type: str, model: str, row: str) -> None:
    assert find(provider_type, model).row.model == row


@pytest.mark.parametrize(
    ("provider_type", "model"),
    [
        pytest.param("OpenAI", "gpt-4o-2029-01-01", id="a-date-nobody-announced"),
        pytest.param("OpenAI", "gpt-4o-mini-turbo", id="a-longer-name"),
        pytest.param("OpenAI", "gpt-4o-search-preview", id="bills-searches"),
        pytest.param("OpenAI", "whisper-1", id="bills-hours"),
        pytest.param("OpenAI", "gpt-4o-audio-preview", id="no-audio-price"),
        pytest.param("OpenAI", "", id="empty"),
        pytest.param("OpenAI", "x" * 100_000, id="absurd"),
        pytest.param("Gemini", "claude-sonnet-4-5", id="sold-elsewhere"),
        pytest.param("OpenAICompatible", "gpt-4o-mini", id="whoever-serves-it"),
        pytest.param("NoSuchType", "gpt-4o-mini", id="no-such-type"),
    ],
)
def test_a_model_without_a_known_price_is_not_found(provider_type: str, model: str) -> None:
    assert BOOK.find(provider_type, model) is None


def test_every_model_costs_something() -> None:
    for kind in ("OpenAI", "Anthropic", "Gemini", "Vertex", "AzureOpenAI", "Bedrock"):
        for name in BOOK.names(kind):
            model = find(kind, name)
            for steps in (model.row.steps, *model.row.service_tiers.values()):
                assert all(step.rates.input > 0 for step in steps), name
                assert "embed" in name or all(step.rates.output > 0 for step in steps), name


def test_the_files_match_the_digests_that_they_carry() -> None:
    prices, limits = parse_prices(PRICES), parse_limits(LIMITS)
    assert (prices.digest, limits.digest) == (digest_of(prices.rows), digest_of(limits.names))


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        pytest.param(b'"output":600000', b'"output":60000', "digest", id="another-price"),
        pytest.param(b'"output":600000', b'"output":-1', "as the generator writes it", id="a-negative-price"),
        pytest.param(b'"output":600000', b'"ouput":600000', "as the generator writes it", id="a-misspelt-class"),
        pytest.param(b'"rows": [', b'"rows": ', "as the generator writes it", id="no-json"),
    ],
)
def test_an_altered_file_is_refused(was: bytes, becomes: bytes, says: str) -> None:
    assert was in PRICES
    with pytest.raises(PriceDataError, match=says):
        parse_book(PRICES.replace(was, becomes), LIMITS)


def test_the_digest_of_the_book_depends_on_both_files() -> None:
    shorter = _without_last_name(LIMITS)
    assert parse_book(PRICES, LIMITS).digest == BOOK.digest != parse_book(PRICES, shorter).digest


def test_the_files_are_what_their_sources_say() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _without_last_name(limits: bytes) -> bytes:
    file = parse_limits(limits)
    lines = limits.rstrip(b"\n]}").rsplit(b",\n", 1)[0] + b"\n]\n}\n"
    return lines.replace(file.digest.encode(), digest_of(file.names[:-1]).encode())
