"""An object's metadata. What Kubernetes adds to it is tolerated, so that `kubectl get -o yaml` can be read back."""

from collections.abc import Mapping
from typing import Final

from tollway.resources.documents import Yaml
from tollway.resources.fields import Fields, Place, Reader, text
from tollway.resources.models import Meta
from tollway.resources.names import NAME, dns_label, labels

DEFAULT_NAMESPACE: Final = "default"
_KUBERNETES_OWN: Final = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)


def namespaced(name: Reader[str] = NAME) -> Reader[Meta]:
    """Metadata of a namespaced kind; without a namespace it is `default`, as with kubectl."""

    def read(value: Yaml, place: Place) -> Meta:
        fields = Fields(value, place)
        namespace = fields.optional("namespace", text(dns_label), DEFAULT_NAMESPACE)
        return _rest(fields, name, namespace)

    return read


def cluster_scoped(name: Reader[str] = NAME) -> Reader[Meta]:
    """Metadata of a cluster-scoped kind: it has no namespace."""

    def read(value: Yaml, place: Place) -> Meta:
        fields = Fields(value, place)
        absent = fields.optional("namespace", _anything, None) is None
        fields.insist(absent, "this kind is cluster-scoped: remove the namespace", "namespace")
        return _rest(fields, name, "")

    return read


def _rest(fields: Fields, name: Reader[str], namespace: str) -> Meta:
    named = fields.required("name", name, "name the object")
    labelled = fields.optional("labels", _labels_or_nothing, {})
    fields.tolerate(_KUBERNETES_OWN)
    fields.close()
    return Meta(named, namespace, labelled)


def _anything(_value: Yaml, _place: Place) -> bool:
    return True


def _labels_or_nothing(value: Yaml, place: Place) -> Mapping[str, str]:
    return {} if value is None else labels(value, place)
