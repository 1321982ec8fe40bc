"""Reading the two kinds of Kubernetes itself that matter: Secrets, and the labels of Namespaces.

Nothing here ever quotes a value: they are credentials.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TypeVar

from tollway.resources.documents import Yaml
from tollway.resources.fields import Fields, Place, Reader, Reported, Wrong, described, string
from tollway.resources.models import Meta, Namespace, Secret
from tollway.resources.names import secret_key

T = TypeVar("T")


def read_secret(fields: Fields, meta: Meta) -> Secret:
    """`data` is base64, `stringData` plain; where both have a key, `stringData` wins, as in Kubernetes."""
    data = fields.optional("data", _entries(_base64), {})
    plain = fields.optional("stringData", _entries(_utf8), {})
    fields.tolerate(("type", "immutable"))
    fields.close()
    return Secret(meta, {**data, **plain})


def read_namespace(fields: Fields, meta: Meta) -> Namespace:
    fields.tolerate(("spec", "status"))
    fields.close()
    return Namespace(meta)


def _entries(reader: Reader[bytes]) -> Reader[Mapping[str, bytes]]:
    def read(value: Yaml, place: Place) -> Mapping[str, bytes]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Wrong(f"must be a mapping, not {described(value)}")
        before = len(place.findings)
        entries = {key: place.inside(key).read(given, _entry(key, reader)) for key, given in value.items()}
        if len(place.findings) > before:
            raise Reported
        return entries

    return read


def _entry(key: str, reader: Reader[bytes]) -> Reader[bytes]:
    def read(value: Yaml, place: Place) -> bytes:
        secret_key(key)
        return reader(value, place)

    return read


def _base64(value: Yaml, _place: Place) -> bytes:
    encoded = string(value).replace("\n", "").replace("\r", "")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        # The cause is cut off: its traceback would carry the value.
        raise Wrong("is not base64: encode the value, or put it under stringData as it is") from None


def _utf8(value: Yaml, _place: Place) -> bytes:
    return string(value).encode()
