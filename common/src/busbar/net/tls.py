"""Trust in the other side of a TLS connection.

Devices have self-signed certificates as a rule.
"""

import hashlib
import ssl
from dataclasses import dataclass

from busbar.errors import ConfigError


@dataclass(frozen=True)
class Trust:
    """Certificates to accept."""

    context: ssl.SSLContext
    fingerprint: str | None = None  # SHA-256 of the certificate (DER), lower-case hex

    def refused(self, certificate: bytes) -> str | None:
        """Return the fingerprint of a certificate (DER) that is not the pinned one."""
        found = hashlib.sha256(certificate).hexdigest()
        return found if self.fingerprint not in (None, found) else None


def trust(
    ca_file: str | None = None,
    fingerprint: str | None = None,
    insecure: bool = False,
    cert_file: str | None = None,
    key_file: str | None = None,
) -> Trust:
    """Trust what ca_file or the system signed, one fingerprint, or any certificate.

    Raise ConfigError for files that cannot be used.

    With a cert_file (and key_file) we show who we are, too.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file}: {error}") from error
    if insecure or fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert_file:
        present(context, cert_file, key_file)
    return Trust(context, fingerprint and fingerprint.replace(":", "").lower())


def server_context(cert_file: str, key_file: str | None) -> ssl.SSLContext:
    """Return the TLS context of a listener.

    Raise ConfigError when a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    present(context, cert_file, key_file)
    return context


def present(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    """Show who we are with this certificate.

    Raise ConfigError when a file cannot be used.
    """

    # else OpenSSL asks for it on the terminal, and everything waits
    def no_passphrase() -> str:
        raise ConfigError(
            f"key_file {key_file or cert_file}: the key has a passphrase; "
            f"allowed: one "
            f"without"
        )

    try:
        context.load_cert_chain(cert_file, key_file, no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cert_file {cert_file}, key_file {key_file}: {error}"
        ) from error
