"""Write the price data of `tollway.pricing.data`, or check that it is what its sources say.

    python tools/generate_prices.py            write both files (downloads one wheel of litellm, about 40 MB)
    python tools/generate_prices.py --check    compare; needs no network; exit code 1 where something differs

Prices are compiled from genai-prices (a development dependency). Maximum outputs, context windows and whether a model
reasons unseen come from one data file of litellm's wheel, which is unzipped and read, never installed or imported.
To move to newer sources change the pins below, run this, and read the diff: it has one model a line.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from genai_prices.data import providers as genai_providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from tollway.pricing import data as price_data
from tollway.pricing.files import (
    LimitsFile,
    NameLine,
    PricesFile,
    RowLine,
    StepLine,
    digest_of,
    parse_limits,
)

# --- pins: the date is the day on which that version was published ----------------------------------------------------

GENAI_VERSION, GENAI_DATE = "0.2.3", date(2026, 11, 10)
LITELLM_VERSION, LITELLM_DATE = "1.109.1", date(2026, 11, 12)
LITELLM_WHEEL = f"litellm-{LITELLM_VERSION}-cp310-abi3-manylinux_2_28_x86_64.whl"
LITELLM_WHEEL_SHA256 = "1c8b4dd671fa0cd0850aa751678704ff77e595fb1e6085b2dc3be39ee19bdaaf"
LITELLM_FILE = "litellm/model_prices_and_context_window_backup.json"


@dataclass(frozen=True)
class Origin:
    """Where the models of one provider type come from: genai-prices' providers, the first that matches wins, and
    litellm's; and how that type's dated names end."""

    genai: tuple[str, ...]
    litellm: tuple[str, ...]
    dated: tuple[str, ...] = ()
    without: str = ""


_OPENAI = ("openai", "text-completion-openai")
_GEMINI = ("gemini", "vertex_ai-language-models", "vertex_ai-embedding-models")
ORIGINS: Mapping[str, Origin] = {
    "OpenAI": Origin(("openai",), _OPENAI, ("-YYYY-MM-DD",)),
    "Anthropic": Origin(("anthropic",), ("anthropic",), ("-YYYYMMDD",)),
    "Gemini": Origin(("google",), _GEMINI, without="claude"),
    "Vertex": Origin(("google", "anthropic"), (*_GEMINI, "vertex_ai-anthropic_models"), ("@YYYYMMDD",)),
    "AzureOpenAI": Origin(("azure", "openai"), ("azure", *_OPENAI), ("-YYYY-MM-DD",)),
    "Bedrock": Origin(("aws",), ("bedrock", "bedrock_converse", "bedrock_mantle")),
}

# --- what the sources do not say (each line with the day somebody looked) ---------------------------------------------

# 2026-11-22: these bill a search per call or more, which no number of tokens shows.
BILLS_SEARCHES = re.compile(r"search-preview|search-api|deep-research")
# 2026-11-22: OpenRouter's and preview spellings that are no names of the providers themselves.
NOT_A_NAME = re.compile(r"^regional\.|^anthropic/|^gpt-5(\.\d)?-image|:free$|:extended$|:thinking$|[-@.:/]$|\s")
# 2026-11-22: models that speak or listen; without an audio price their calls would cost too little.
SPEAKS = re.compile(r"audio|realtime|live|transcribe|tts")
# 2026-11-22: families that reason unseen, whatever a single entry of litellm says.
REASONS_UNSEEN = re.compile(
    r"^(o\d|gpt-[5-9]|gpt-rosalind|codex|chat-latest|gpt-chat|gemini-(2\.5|[3-9])|gemini-(flash|pro|flash-lite)-latest)"
    r"|claude-(3[-.]7|(opus|sonnet|haiku|fable|mythos)-[4-9]|[4-9])|openai\.gpt|nova-2|deepseek\.r1|thinking"
)
# 2026-11-22: https://platform.openai.com/docs/models; retired models that litellm dropped, by row.
MAX_OUTPUT: Mapping[str, int] = {
    "openai/chatgpt-4o-latest": 16_384,
    "openai/codex-mini": 100_000,
    "openai/o1-mini": 65_536,
    "openai/o1-preview": 32_768,
}
# Names that no date is ever added to: they have a version of their own, or float.
UNDATED = re.compile(r"^ft:|^gemini|^text-|@default|latest|-\d{4}$")

# genai-prices' price keys and our classes. A model with any other key bills what usage in tokens does not show (hours,
# characters) or shows only as a whole (images, video): it has no price here and is refused until someone states one.
CLASSES: Mapping[str, str] = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
}
# Cached audio is a class of its own only in the source; provider families report it as audio input, which is dearer.
# Searches are run by provider-side tools, which are refused or capped elsewhere.
IGNORED_KEYS = frozenset({"cache_audio_read_mtok", "web_searches_kcount", "storage_searches_kcount"})
TIER_CONTEXTS = ("service_tier", "processing", "speed")
MODES = frozenset({"chat", "responses", "completion", "embedding"})
PICO_PER_MTOK_USD = 1_000_000
A_FUTURE_DATE = {"YYYY-MM-DD": "2031-01-31", "YYYYMMDD": "20310131"}
RATE_FIELDS = tuple(CLASSES.values())

Rates = Mapping[str, Decimal | TieredPrices]


# --- prices -----------------------------------------------------------------------------------------------------------


def prices_file() -> PricesFile:
    found = version("genai-prices")
    if found != GENAI_VERSION:
        sys.exit(f"genai-prices {found} is installed, but {GENAI_VERSION} is pinned: install that, or change the pin")
    ids = sorted({provider for origin in ORIGINS.values() for provider in origin.genai})
    rows = tuple(
        line for each in ids for model in sorted(_provider(each).models, key=_id) for line in _rows(each, model)
    )
    return PricesFile(f"genai-prices {GENAI_VERSION}", GENAI_DATE.isoformat(), digest_of(rows), rows)


def _id(model: ModelInfo) -> str:
    return model.id


@cache
def _provider(name: str) -> Provider:
    return next(provider for provider in genai_providers if provider.id == name)


def _rows(provider: str, model: ModelInfo) -> Iterator[RowLine]:
    """The row in force on the source's date, and one for each day after it on which prices change."""
    previous: RowLine | None = None
    for day in (GENAI_DATE, *_later_days(model)):
        if not _is_priced(model, _stated(model.get_prices(_noon(day)))):
            return
        since = "" if previous is None else day.isoformat()
        line = RowLine(
            f"{provider}/{model.id}", _steps(_stated(model.get_prices(_noon(day)))), _tiers(model, day), since
        )
        if previous is not None:
            _refuse_a_fall(previous, line)
        previous = line
        yield line


def _noon(day: date) -> datetime:
    """genai-prices asks for a moment, and compares its UTC date."""
    return datetime.combine(day, time(12), UTC)


def _later_days(model: ModelInfo) -> list[date]:
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [each.constraint for each in (*conditional, *(model.price_variants or ()))]
    days = {start for each in constraints if (start := getattr(each, "start_date", None)) is not None}
    return sorted(day for day in days if day > GENAI_DATE)


def _stated(prices: ModelPrice) -> dict[str, Any]:
    return {key: price for key, price in prices.__dict__.items() if price is not None}


def _is_priced(model: ModelInfo, stated: Mapping[str, Any]) -> bool:
    if stated.keys() - CLASSES.keys() - IGNORED_KEYS or not stated.get("input_mtok"):
        return False
    if "output_mtok" not in stated and "output_audio_mtok" not in stated and not _is_embedding(model):
        return False
    return "input_audio_mtok" in stated or not SPEAKS.search(model.id)


def _is_embedding(model: ModelInfo) -> bool:
    return any("embed" in literal for literal in (model.id, *_literals(model.match)))


def _tiers(model: ModelInfo, day: date) -> dict[str, tuple[StepLine, ...]]:
    standard = _steps(_stated(model.get_prices(_noon(day))))
    contexts = sorted({(k, v) for variant in model.price_variants or () for k, v in variant.when.items()})
    tiers = {}
    for key, word in contexts:
        if key not in TIER_CONTEXTS or len({v for k, v in contexts if v == word}) != 1:
            sys.exit(f"{model.id}: prices depend on {key}={word}, which this generator does not know")
        steps = _steps(_stated(model.get_prices(_noon(day), {key: word})))
        if word != "default" or steps != standard:
            tiers[word] = steps
    return tiers


def _steps(stated: Mapping[str, Any]) -> tuple[StepLine, ...]:
    rates = {CLASSES[key]: price for key, price in stated.items() if key in CLASSES}
    starts = {tier.start for price in rates.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    return tuple(_step(rates, above) for above in sorted({0, *starts}))


def _step(rates: Rates, above: int) -> StepLine:
    prices = {name: _pico(_price_above(price, above)) for name, price in rates.items()}
    prices.setdefault("output", 0)
    return StepLine(**{name: prices[name] for name in RATE_FIELDS if name in prices}, above=above)


def _price_above(price: Decimal | TieredPrices, above: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if above >= tier.start), price.base)


def _pico(usd_per_mtok: Decimal) -> int:
    pico = usd_per_mtok * PICO_PER_MTOK_USD
    if pico != int(pico):
        sys.exit(f"{usd_per_mtok} USD per million tokens is not a whole number of pico-USD per token")
    return int(pico)


def _refuse_a_fall(earlier: RowLine, later: RowLine) -> None:
    """Whoever asks without a time gets the last announced price, and relies on its being the dearer."""
    for before, after in zip(earlier.steps, later.steps, strict=True):
        if any((getattr(after, name) or 0) < (getattr(before, name) or 0) for name in RATE_FIELDS):
            sys.exit(
                f"{later.id} is announced to get cheaper on {later.since}: `PriceBook.find` does not allow for that"
            )


# --- names and sizes --------------------------------------------------------------------------------------------------


def limits_file(litellm: Mapping[str, Mapping[str, Any]], rows: Iterable[RowLine]) -> LimitsFile:
    priced = {row.id: row for row in rows}
    lines = tuple(line for kind, origin in ORIGINS.items() for line in _names(kind, origin, litellm, priced))
    source = f"litellm {LITELLM_VERSION}, genai-prices {GENAI_VERSION}"
    newest = max(GENAI_DATE, LITELLM_DATE).isoformat()
    return LimitsFile(source, newest, digest_of(lines), LITELLM_WHEEL, LITELLM_WHEEL_SHA256, lines)


def _names(
    kind: str, origin: Origin, litellm: Mapping[str, Mapping[str, Any]], priced: Mapping[str, RowLine]
) -> list[NameLine]:
    known = _litellm_models(origin, litellm)
    row_of = {name: row for name in _candidates(origin, known) if (row := resolve(kind, name, priced))}
    entries_of_row: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for name, row in row_of.items():
        entries_of_row[row] += known.get(name, [])
    lines = {name: _line(kind, name, row, known.get(name) or entries_of_row[row]) for name, row in row_of.items()}
    for name, line in tuple(lines.items()):
        for shape in origin.dated if not UNDATED.search(name) else ():
            dated = _undated(name) + shape
            if resolve(kind, dated, priced) == line.row:
                lines.setdefault(dated, msgspec.structs.replace(lines.get(_undated(name), line), name=dated))
    return [lines[name] for name in sorted(lines)]


def _undated(name: str) -> str:
    return re.sub(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|YYYY-MM-DD|YYYYMMDD)$", "", name)


def _litellm_models(origin: Origin, litellm: Mapping[str, Mapping[str, Any]]) -> Mapping[str, list[Mapping[str, Any]]]:
    """litellm's entries of the origin's providers, by the name that the provider itself uses."""
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for name, entry in litellm.items():
        if entry.get("litellm_provider") in origin.litellm and entry.get("mode") in MODES:
            found[name.rpartition("/")[2].lower()].append(entry)
    return found


def _candidates(origin: Origin, known: Iterable[str]) -> set[str]:
    models = [model for provider in origin.genai for model in _provider(provider).models]
    source = {name for model in models for name in (model.id, *_literals(model.match))}
    return {name.lower() for name in (*source, *known)}


def _literals(match: object) -> Iterator[str]:
    """The texts that a matching rule compares with; regular expressions have none."""
    for clause in getattr(match, "or_", None) or getattr(match, "and_", None) or ():
        yield from _literals(clause)
    for attribute in ("equals", "starts_with", "ends_with", "contains"):
        if (literal := getattr(match, attribute, None)) is not None:
            yield literal


def resolve(kind: str, name: str, priced: Mapping[str, RowLine]) -> str | None:
    """The row that genai-prices' own rules give for `name`; None where that row bills more than its tokens."""
    origin = ORIGINS[kind]
    if NOT_A_NAME.search(name) or BILLS_SEARCHES.search(name) or (origin.without and origin.without in name):
        return None
    concrete = name
    for shape, day in A_FUTURE_DATE.items():
        concrete = concrete.replace(shape, day)
    for provider in origin.genai:
        if model := _provider(provider).find_model(concrete):
            row = priced.get(f"{provider}/{model.id}")
            # A row without a price of output is one of embeddings, whatever else its rules match.
            return row.id if row is not None and (row.steps[0].output or "embed" in name) else None
    return None


def _line(kind: str, name: str, row: str, entries: Sequence[Mapping[str, Any]]) -> NameLine:
    provider, _, model_id = row.partition("/")
    context = next(model.context_window for model in _provider(provider).models if model.id == model_id)
    outputs = [*_sizes(entries, "max_output_tokens"), *([MAX_OUTPUT[row]] if row in MAX_OUTPUT else [])]
    embeds = "embed" in name
    return NameLine(
        type=kind,
        name=name,
        row=row,
        context=max(filter(None, [context, *_sizes(entries, "max_input_tokens")]), default=None),
        max_output=None if embeds else max(outputs, default=None),
        hidden=not embeds and (not entries or _reasons_unseen(name, entries)),
    )


def _sizes(entries: Iterable[Mapping[str, Any]], key: str) -> list[int]:
    return [size for entry in entries if isinstance(size := entry.get(key), int) and size > 0]


def _reasons_unseen(name: str, entries: Iterable[Mapping[str, Any]]) -> bool:
    return bool(REASONS_UNSEEN.search(name)) or any(entry.get("supports_reasoning") for entry in entries)


def litellm_data() -> Mapping[str, Mapping[str, Any]]:
    """The data file out of the pinned wheel, which is downloaded, verified and thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        place = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--dest", folder]
        subprocess.run([*command, *place, f"litellm=={LITELLM_VERSION}"], check=True)
        wheel = Path(folder) / LITELLM_WHEEL
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != LITELLM_WHEEL_SHA256:
            sys.exit(f"{wheel.name} is not the wheel that was pinned: its SHA-256 differs. Do not use it.")
        with zipfile.ZipFile(wheel) as archive:
            entries: dict[str, dict[str, Any]] = json.loads(archive.read(LITELLM_FILE))
    entries.pop("sample_spec", None)
    return entries


# --- writing and checking ---------------------------------------------------------------------------------------------


def render(file: PricesFile | LimitsFile) -> bytes:
    """JSON with one entry a line."""
    fields = msgspec.to_builtins(file)
    name, entries = fields.popitem()
    head = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
    body = ",\n".join(msgspec.json.encode(entry).decode() for entry in entries)
    return ("{\n" + ",\n".join([*head, f'"{name}": [\n{body}\n]']) + "\n}\n").encode()


def differences(prices: bytes, limits: bytes) -> list[str]:
    """What is wrong with the two files, as far as it can be told without litellm's wheel."""
    expected = prices_file()
    named = parse_limits(limits)
    found = _compare_rows(msgspec.json.decode(prices, type=PricesFile).rows, expected.rows)
    if not found and prices != render(expected):
        found.append("prices.json: its head or its layout differs")
    if (named.wheel, named.wheel_sha256) != (LITELLM_WHEEL, LITELLM_WHEEL_SHA256):
        found.append(f"model_limits.json is made of {named.wheel}, but {LITELLM_WHEEL} is pinned")
    priced = {row.id: row for row in expected.rows}
    for line in named.names:
        if (row := resolve(line.type, line.name, priced)) != line.row:
            found.append(f"{line.type} {line.name}: priced as {line.row}, but the source says {row}")
    return found


def _compare_rows(found: Iterable[RowLine], expected: Iterable[RowLine]) -> list[str]:
    was, now = ({(row.id, row.since): row for row in rows} for rows in (found, expected))
    lines = [f"- {row.id} {row.since}" for key, row in was.items() if key not in now]
    lines += [f"+ {row.id} {row.since}" for key, row in now.items() if key not in was]
    return lines + [
        f"~ {row.id}: {was[key].steps} -> {row.steps}" for key, row in now.items() if was.get(key, row) != row
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    folder = Path(price_data.__file__).parent
    prices, limits = folder / "prices.json", folder / "model_limits.json"
    if parser.parse_args().check:
        return check(prices, limits)
    priced = prices_file()
    named = limits_file(litellm_data(), priced.rows)
    prices.write_bytes(render(priced))
    limits.write_bytes(render(named))
    print(f"{len(priced.rows)} price rows, {len(named.names)} names")
    return 0


def check(prices: Path, limits: Path) -> int:
    try:
        found = differences(prices.read_bytes(), limits.read_bytes())
    except (OSError, ValueError) as problem:
        found = [str(problem)]
    for line in found[:20]:
        print(line)
    if found:
        print(f"{len(found)} differences: run `python tools/generate_prices.py` and read its diff")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
