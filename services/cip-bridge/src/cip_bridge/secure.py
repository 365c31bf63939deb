"""Streams to a processor, plain or inside TLS. Processors have self-signed certificates as a rule. Source: 1.1."""

import asyncio
import hashlib
import ssl
from dataclasses import dataclass

from busbar.errors import ConfigError, LinkLost
from busbar.streams import ByteStream, open_tcp
from cip_bridge.device import Unreachable


@dataclass(frozen=True)
class Trust:
    """How to know the other side."""

    context: ssl.SSLContext
    fingerprint: str | None = None  # SHA-256 of its certificate (DER), lower-case hex


def trust(ca_file: str | None = None, fingerprint: str | None = None, insecure: bool = False) -> Trust:
    """Trust what ca_file (else the system) signed, the certificate of this fingerprint, or any; raise ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file}: {error}") from error
    if insecure or fingerprint:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Trust(context, fingerprint and fingerprint.replace(":", "").lower())


async def open_stream(host: str, port: int, trust: Trust | None, name: str, timeout: float) -> ByteStream:
    """Connect within `timeout` seconds, inside TLS if there is a trust; raise Unreachable."""
    try:
        if trust is None:
            return await open_tcp(host, port, name, timeout)
        return await _open_tls(host, port, trust, name, timeout)
    except LinkLost as error:
        raise Unreachable(error.message) from error


async def _open_tls(host: str, port: int, trust: Trust, name: str, timeout: float) -> ByteStream:
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port, ssl=trust.context)
    except TimeoutError as error:
        raise LinkLost(f"no TLS connection to {where} within {timeout:g} s") from error
    except ssl.SSLCertVerificationError as error:
        why = f"{error.verify_message}; allowed: what ca_file signed, `fingerprint`, `insecure: true`"
        raise LinkLost(f"the certificate of {where} is not trusted: {why}") from error
    except ssl.SSLError as error:
        raise LinkLost(f"no TLS with {where}: {error.reason or error}") from error
    except OSError as error:
        raise LinkLost(f"cannot connect to {where}: {error.strerror or error}") from error
    found = hashlib.sha256(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)).hexdigest()
    if trust.fingerprint not in (None, found):
        writer.transport.abort()
        raise LinkLost(f"the certificate of {where} has the fingerprint {found}, not the one configured")
    return ByteStream(reader, writer, name)


def server_context(cert_file: str, key_file: str | None) -> ssl.SSLContext:
    """Return the TLS context of a listener; raise ConfigError when a file cannot be used."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cert_file {cert_file}, key_file {key_file}: {error}") from error
    return context
