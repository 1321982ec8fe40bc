"""Pods, and the requests for their certificates, as a scheduler and a kubelet make them. Nothing runs."""

import base64
import itertools
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from clusters import Client, Cluster, path_of, until
from signing.requests import csr
from tollway_operator.signing.request import SIGNER

CERTIFICATES = "certificates.k8s.io/v1"
SOURCE = {"signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "svid.pem"}
_numbers = itertools.count()

Json = Any


class Node:
    """A node and its kubelet's right to ask for the pods on it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self._admin = cluster.admin
        cluster.admin.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).expect()
        self.kubelet: Client = cluster.user(f"system:node:{name}", "system:nodes")

    def pod(self, namespace: str, app: str, account: str, signer: str = SIGNER) -> Json:
        content = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{app}-{next(_numbers)}", "namespace": namespace, "labels": {"app": app}},
            "spec": {
                "nodeName": self.name,
                "serviceAccountName": account,
                "containers": [{"name": "agent", "image": "none.example/agent"}],
                # Without it the API server takes no request from the node for this pod.
                "volumes": [
                    {"name": "svid", "projected": {"sources": [{"podCertificate": {**SOURCE, "signerName": signer}}]}}
                ],
            },
        }
        return self._admin.create(content).expect()

    def ask(self, pod: Json, key: ec.EllipticCurvePrivateKey, **spec: object) -> Json:
        """The name of a request for a pod's certificate."""
        namespace, account_name = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
        account = self._admin.get(path_of("v1", "ServiceAccount", namespace, account_name)).expect()
        node = self._admin.get(path_of("v1", "Node", name=self.name)).expect()
        content = {
            "apiVersion": CERTIFICATES,
            "kind": "PodCertificateRequest",
            "metadata": {"name": f"req-{next(_numbers)}", "namespace": namespace},
            "spec": {
                "signerName": SIGNER,
                "podName": pod["metadata"]["name"],
                "podUID": pod["metadata"]["uid"],
                "serviceAccountName": account_name,
                "serviceAccountUID": account["metadata"]["uid"],
                "nodeName": self.name,
                "nodeUID": node["metadata"]["uid"],
                "maxExpirationSeconds": 3600,
                "stubPKCS10Request": base64.b64encode(csr(key)).decode(),
                **spec,
            },
        }
        # The server knows a moment later which pods a node has.
        until(lambda: self.kubelet.create(content).status in {201, 409}, "the node may not ask for its pod")
        return content["metadata"]["name"]

    def answer(self, namespace: str, request: str) -> Json:
        """The status, once there is one."""
        where = path_of(CERTIFICATES, "PodCertificateRequest", namespace, request)

        def status() -> Json:
            return self._admin.get(where).expect().get("status", {})

        until(lambda: status().get("conditions"), "the request is not answered")
        return status()
