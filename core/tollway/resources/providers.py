"""Reading an AIProvider. Fields, bounds and defaults are those of `crds/tollway.dev_aiproviders.yaml`."""

from typing import Final

from tollway.resources.documents import Yaml
from tollway.resources.endpoints import default_endpoint, endpoint
from tollway.resources.fields import Fields, Place, Wrong, choice, flag, listing, text, whole
from tollway.resources.models import (
    AIProvider,
    Endpoint,
    Meta,
    ModelRule,
    PriceOverride,
    ProviderType,
    SecretKeyRef,
)
from tollway.resources.money import pico_usd_per_token
from tollway.resources.names import NAME, model_glob, model_name, region, secret_key, selector

MOST_MODELS: Final = 256
LARGEST_OUTPUT: Final = 10_000_000
LARGEST_CONTEXT: Final = 1_000_000_000
DEFAULT_SECRET_KEY: Final = "api-key"  # noqa: S105 - the name of a key


def read_provider(value: Yaml, place: Place, meta: Meta) -> AIProvider:
    fields = Fields(value, place)
    kind = fields.required("type", choice(ProviderType), f"one of {', '.join(ProviderType)}")
    url = fields.optional("endpoint", text(endpoint), None)
    plaintext = fields.optional("allowPlaintext", flag, False)
    default = fields.optional("default", flag, False)
    namespaces = fields.optional("namespaces", selector, None)
    where = fields.optional("region", text(region), None)
    credential = fields.optional("credential", _credential, None)
    models = fields.optional("models", listing(_model, MOST_MODELS, key=lambda rule: rule.name), ())
    prices = fields.optional("prices", listing(_price, MOST_MODELS, key=lambda price: price.model), ())
    fields.close()
    listens = _listens(url, plaintext, kind, where)
    return AIProvider(meta, kind, listens, default, namespaces, where, credential, models, prices)


def _listens(url: Endpoint | None, plaintext: bool, kind: ProviderType, where: str | None) -> Endpoint:
    found = url or default_endpoint(kind, where)
    if found is None:
        hint = ", or an AWS region" if kind is ProviderType.BEDROCK else ""
        raise Wrong(f"is required for type {kind}: give the URL that the provider listens at{hint}", ("endpoint",))
    if not found.tls and not plaintext:
        raise Wrong(
            "http:// would send the credential and every prompt in clear: use https://, or set allowPlaintext: true",
            ("endpoint",),
        )
    return found


def _credential(value: Yaml, place: Place) -> SecretKeyRef:
    fields = Fields(value, place)
    reference = fields.required("secretRef", _secret_ref, "name the Secret that holds the key")
    fields.close()
    return reference


def _secret_ref(value: Yaml, place: Place) -> SecretKeyRef:
    fields = Fields(value, place)
    name = fields.required("name", NAME, "name the Secret in the root namespace")
    key = fields.optional("key", text(secret_key), DEFAULT_SECRET_KEY)
    fields.close()
    return SecretKeyRef(name, key)


def _model(value: Yaml, place: Place) -> ModelRule:
    fields = Fields(value, place)
    rule = ModelRule(
        name=fields.required("name", text(model_glob), "give a model name or a pattern such as gpt-5*"),
        model=fields.optional("model", text(model_name), None),
        max_output_tokens=fields.optional("maxOutputTokens", whole(1, LARGEST_OUTPUT), None),
        context_tokens=fields.optional("contextTokens", whole(1, LARGEST_CONTEXT), None),
        hidden_output=fields.optional("hiddenOutput", flag, None),
    )
    fields.close()
    return rule


def _price(value: Yaml, place: Place) -> PriceOverride:
    fields = Fields(value, place)
    price = text(pico_usd_per_token)
    hint = "USD per million tokens"
    override = PriceOverride(
        model=fields.required("model", text(model_name), "name the model"),
        input=fields.required("input", price, hint),
        output=fields.required("output", price, hint),
        cache_read=fields.optional("cacheRead", price, None),
        cache_write_5m=fields.optional("cacheWrite5m", price, None),
        cache_write_1h=fields.optional("cacheWrite1h", price, None),
        audio_input=fields.optional("audioInput", price, None),
        audio_output=fields.optional("audioOutput", price, None),
    )
    fields.close()
    return override
