"""The certificate that the webhook shows: read again when its files change, without a connection lost."""

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from tollway_operator.authority.svid_files import CERTIFICATE_FILE, KEY_FILE

_log = logging.getLogger(__name__)
EVERY_S: Final = 2.0


class ServingCertificate:
    """`context` shows what `look` found last. The directory is that of a Secret volume."""

    def __init__(self, directory: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._directory = directory
        self._shown = b""
        self._ends = datetime.min.replace(tzinfo=UTC)

    def is_valid(self, now: datetime) -> bool:
        """Whether there is one, and it has not ended."""
        return bool(self._shown) and now < self._ends

    def look(self) -> None:
        """Take what is there now, if it is sound and not what is shown already."""
        certificate, key = self._directory / CERTIFICATE_FILE, self._directory / KEY_FILE
        try:
            content = certificate.read_bytes()
            if content == self._shown:
                return
            self.context.load_cert_chain(certificate, key)
            self._ends = x509.load_pem_x509_certificate(content).not_valid_after_utc
        except (OSError, ValueError) as error:  # a certificate and a key that do not fit are an OSError too
            _log.warning("no certificate is to be had from %s: %s", self._directory, error)
            return
        self._shown = content
        _log.info("a certificate is shown that ends %s", self._ends.isoformat())

    async def follow(self) -> None:
        """For ever."""
        while True:
            self.look()
            await asyncio.sleep(EVERY_S)
