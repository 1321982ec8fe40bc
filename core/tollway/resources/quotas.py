"""Reading an AIQuota. Fields, bounds and defaults are those of `crds/tollway.dev_aiquotas.yaml`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tollway.ledger.units import Unit, Window
from tollway.resources.documents import Yaml
from tollway.resources.fields import Fields, Place, Reader, Wrong, choice, listing, text, whole
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AIQuota,
    Bound,
    Limit,
    Meta,
    Mode,
    ModelFilter,
    OnLedgerUnavailable,
    OnShortfall,
    Per,
)
from tollway.resources.money import nano_usd
from tollway.resources.names import NAME, dns_label, model_glob, selector
from tollway.resources.providers import LARGEST_OUTPUT
from tollway.resources.windows import ZONED, time_zone, window

MOST_LIMITS: Final = 32
MOST_FILTERS: Final = 64
LARGEST_COUNT: Final = 1 << 53
"""Every JSON reader holds whole numbers up to this exactly."""

_AMOUNTS: Final[Mapping[Unit, Reader[int]]] = {
    unit: text(nano_usd) if unit is Unit.COST else whole(0, LARGEST_COUNT) for unit in Unit
}


def read_quota(value: Yaml, place: Place, meta: Meta) -> AIQuota:
    fields = Fields(value, place)
    quota = AIQuota(
        meta=meta,
        limits=fields.required("limits", _LIMITS, "give at least one"),
        agents=fields.optional("agents", selector, None),
        namespaces=fields.optional("namespaces", selector, None),
        models=fields.optional("models", listing(_model_filter, MOST_FILTERS), ()),
        per=fields.optional("per", listing(choice(Per), len(Per), key=str), ()),
        mode=fields.optional("mode", choice(Mode), Mode.ENFORCE),
        on_shortfall=fields.optional("onShortfall", choice(OnShortfall), OnShortfall.SHRINK),
        bound=fields.optional("bound", choice(Bound), Bound.LEARNED),
        default_max_output_tokens=fields.optional("defaultMaxOutputTokens", whole(1, LARGEST_OUTPUT), None),
        on_ledger_unavailable=fields.optional(
            "onLedgerUnavailable", choice(OnLedgerUnavailable), OnLedgerUnavailable.DENY
        ),
    )
    fields.close()
    return quota


def check_quota(quota: AIQuota) -> None:
    """What the schema cannot see: a CEL rule knows an object's name, not its namespace."""
    if quota.namespaces is not None and quota.meta.namespace != ROOT_NAMESPACE:
        raise Wrong(
            f"only quotas in the root namespace {ROOT_NAMESPACE} select namespaces: remove it, or move the quota there",
            ("spec", "namespaces"),
        )


def _limit(value: Yaml, place: Place) -> Limit:
    fields = Fields(value, place)
    name = fields.required("name", text(dns_label), "name the limit, for counters and refusals")
    amounts = {
        unit: amount
        for unit, reader in _AMOUNTS.items()
        if (amount := fields.optional(unit.value, reader, None)) is not None
    }
    over = fields.optional("window", text(window), None)
    zone = fields.optional("timeZone", text(time_zone), None)
    fields.close()
    fields.insist(len(amounts) == 1, f"must have exactly one of {', '.join(Unit)}")
    fields.stop_if_wrong()
    [(unit, amount)] = amounts.items()
    _check_window(fields, unit, over, zone)
    fields.stop_if_wrong()
    return Limit(name, unit, amount, replace(over, time_zone=zone or over.time_zone) if over else None)


def _check_window(fields: Fields, unit: Unit, over: Window | None, zone: str | None) -> None:
    if unit is Unit.CONCURRENT:
        fields.insist(over is None, "concurrent counts calls in flight and has no window: remove it", "window")
    else:
        fields.insist(over is not None, f"is required for {unit}: a duration such as 1m, or Day, Month, …", "window")
    zoned = over is not None and over.kind in ZONED
    fields.insist(zone is None or zoned, "only Day, Week, Month and Year begin in a time zone: remove it", "timeZone")


_LIMITS: Final = listing(_limit, MOST_LIMITS, least=1, key=lambda limit: limit.name)


def _model_filter(value: Yaml, place: Place) -> ModelFilter:
    fields = Fields(value, place)
    provider = fields.optional("provider", NAME, None)
    name = fields.optional("name", text(model_glob), None)
    fields.close()
    fields.insist(provider is not None or name is not None, "give a provider, a name or both")
    fields.stop_if_wrong()
    return ModelFilter(provider, name or "*")
