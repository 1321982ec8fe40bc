"""How a pod reaches the API server: the address that the kubelet names, and files that it keeps up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts them, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """`folder` has `token`, which is replaced well before it ends, and `ca.crt`."""

    server: str
    folder: Path = FOLDER

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    def token(self) -> str:
        """The newest. Raises `OSError`."""
        return (self.folder / "token").read_text().strip()


def service_account(environ: Mapping[str, str]) -> ServiceAccount:
    """That of the pod which this process is in. Raises `ValueError` where it is in none."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    account = ServiceAccount(
        f"https://{f'[{host}]' if ':' in host else host}:{port}",
        Path(environ.get("TOLLWAY_SERVICE_ACCOUNT") or FOLDER),
    )
    if not host or not port or not account.ca_file.is_file():
        raise ValueError(
            f"this is no pod with a service account (KUBERNETES_SERVICE_HOST, _PORT and {account.folder}): "
            "set KUBECONFIG to the path of a kubeconfig"
        )
    return account
