"""Names as Kubernetes and model providers write them. ASCII only: look-alike letters are other names, and refused."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from tollway.resources.documents import Yaml
from tollway.resources.fields import Fields, Place, Reported, Wrong, described, string, text
from tollway.resources.models import Selector

MOST_LABELS: Final = 64
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_QUALIFIED: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"


def matching(pattern: str, longest: int, takes: str) -> Callable[[str], str]:
    """The text itself, where it has the form. The sentence never quotes the text."""
    compiled = re.compile(pattern)

    def read(value: str) -> str:
        if len(value) > longest:
            raise Wrong(f"has {len(value)} characters, the limit is {longest}: {takes}")
        if not compiled.fullmatch(value):
            raise Wrong(f"is not a valid name: {takes}")
        return value

    return read


_DNS_SAYS: Final = "use lower-case ASCII letters, digits and '-', starting and ending with a letter or digit"
dns_label: Final = matching(_LABEL, 63, _DNS_SAYS)
dns_subdomain: Final = matching(rf"{_LABEL}(?:\.{_LABEL})*", 253, f"{_DNS_SAYS}, in parts separated by '.'")
secret_key: Final = matching(r"[A-Za-z0-9._-]+", 253, "use ASCII letters, digits, '-', '_' and '.'")
region: Final = matching(_LABEL, 63, "use lower-case ASCII letters, digits and '-', such as eu or us-east-1")
model_name: Final = matching(
    r"[A-Za-z0-9._:/@+-]+", 256, "a model name has ASCII letters, digits and . _ : / @ + - only"
)
model_glob: Final = matching(
    r"[A-Za-z0-9._:/@+*?-]+",
    256,
    "a pattern has the characters of model names (ASCII letters, digits and . _ : / @ + -), "
    "'*' for any characters and '?' for one",
)
_label_key: Final = matching(
    rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_QUALIFIED}",
    317,
    "a label key is [prefix/]name with at most 63 ASCII letters, digits, '-', '_' and '.' in the name",
)
_label_value: Final = matching(
    rf"(?:{_QUALIFIED})?",
    63,
    "a label value has at most 63 ASCII letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
)


def labels(value: Yaml, place: Place) -> Mapping[str, str]:
    """A mapping of labels."""
    if not isinstance(value, dict):
        raise Wrong(f"must be a mapping of label keys to values, not {described(value)}")
    if len(value) > MOST_LABELS:
        raise Wrong(f"has {len(value)} labels, the limit is {MOST_LABELS}: remove some")
    before = len(place.findings)
    read = {key: place.inside(key).read(given, _label(key)) for key, given in value.items()}
    if len(place.findings) > before:
        raise Reported
    return read


def _label(key: str) -> Callable[[Yaml, Place], str]:
    def read(value: Yaml, _place: Place) -> str:
        _label_key(key)
        return _label_value(string(value))

    return read


def selector(value: Yaml, place: Place) -> Selector:
    """`{matchLabels: {…}}`. An empty one matches everything, as everywhere in Kubernetes."""
    fields = Fields(value, place)
    match_labels = fields.optional("matchLabels", labels, {})
    fields.close()
    return Selector(match_labels)


NAME: Final = text(dns_subdomain)
"""The name of an object."""
