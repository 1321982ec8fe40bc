"""Which family speaks for which `AIProvider.spec.type`."""

from collections.abc import Mapping
from typing import Final

from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE
from tollway.providers.port import Family

_FAMILIES: Final[Mapping[str, Family]] = {family.name: family for family in (OPENAI, OPENAI_COMPATIBLE, ANTHROPIC)}


def family_of(type_name: str) -> Family | None:
    """The family of a provider type, or None: nobody has described it yet."""
    return _FAMILIES.get(type_name)
