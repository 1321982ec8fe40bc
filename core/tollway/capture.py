"""How the programs of an agent come to call through its sidecar: URLs of providers, and the variables of their SDKs.

Shared by whatever starts those programs: the command on one machine, the injector in a cluster.
"""

from collections.abc import Iterable, Mapping, Sequence

from tollway.providers.registry import family_of
from tollway.resources.models import AIProvider, ProviderType


def has_data_path(provider: AIProvider) -> bool:
    """Whether this version can serve its type: only then it has a URL."""
    return family_of(provider.type) is not None


def is_open_to(provider: AIProvider, namespace_labels: Mapping[str, str]) -> bool:
    """Whether agents of a namespace with these labels may use it."""
    return provider.namespaces is None or provider.namespaces.matches(namespace_labels)


def base_urls(providers: Iterable[AIProvider], port: int) -> Mapping[str, str]:
    """Provider name -> URL as its own SDK takes it, for a sidecar on the loopback port. Only those with a data path."""
    return {provider.meta.name: _base_url(provider, port) for provider in providers if has_data_path(provider)}


def sdk_variables(providers: Sequence[AIProvider], port: int) -> Mapping[str, str]:
    """The variables that point each SDK at the default provider of its type, with a placeholder where it asks for a
    key. `providers` that are not marked as the default count in their order."""
    variables: dict[str, str] = {}
    for provider in reversed(defaults_by_type(providers)):
        family = family_of(provider.type)
        if family is not None:
            variables |= family.sdk_env(_base_url(provider, port))
    return variables


def defaults_by_type(providers: Iterable[AIProvider]) -> tuple[AIProvider, ...]:
    """For each type the provider whose URL goes into the SDK's variable: the one marked, else the first.

    Where two types share an SDK's variables, OpenAI's own comes before servers that are compatible with it.
    """
    chosen: dict[str, AIProvider] = {}
    for provider in sorted(providers, key=_precedence):
        chosen.setdefault(provider.type, provider)
    return tuple(chosen.values())


def _precedence(provider: AIProvider) -> tuple[bool, bool]:
    return provider.type is ProviderType.OPENAI_COMPATIBLE, not provider.default


def _base_url(provider: AIProvider, port: int) -> str:
    family = family_of(provider.type)
    return family.base_url(f"http://127.0.0.1:{port}/{provider.meta.name}") if family is not None else ""
