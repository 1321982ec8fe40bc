import base64
import time
from pathlib import Path

from cryptography import x509

from e2e.installation import ASK, Installation
from e2e.stage import LOOKING, Agent, apply, beside_sidecar, delete, read, ready, until

STORY = Path(__file__).parent / "story.yaml"
CERTIFICATES = LOOKING / "certificates.py"
RENEWED = Agent("renewed", "team-b")
SECRET = "tollway-svid-renewed"
AFTERWARDS_S = 5


def issued() -> str:
    """The serial number of the certificate in the Secret."""
    held = base64.b64decode(read("secret", SECRET, "team-b")["data"]["tls.crt"])
    return f"{x509.load_pem_x509_certificate(held).serial_number:x}"


def shown(reader: Agent) -> list[str]:
    """Of those that the sidecar shows to the gateway."""
    [found] = reader.runs(CERTIFICATES)
    return [each.lstrip("0") for each in found]  # Envoy writes whole bytes


def test_an_svid_is_renewed_under_load_and_no_call_fails(installation: Installation) -> None:
    apply(STORY)
    ready("renewed", "team-b")
    reader, before = beside_sidecar(RENEWED), issued()
    until(lambda: shown(reader) == [before], "the sidecar does not show its certificate")
    with RENEWED.running(ASK, "openai", "--seconds=300", "--pause=0.1") as load:
        delete("secret", SECRET, "team-b")
        after = until(lambda: issued() if issued() != before else "", "no other certificate is issued")
        until(lambda: shown(reader) == [after], "the sidecar keeps the old one")
        said = list(load.until(time.time() + AFTERWARDS_S))
    assert [each for each in said if not each["ok"]] == []
    installation.figures["calls while an SVID was renewed, and how many failed"] = f"{len(said)}, 0"
