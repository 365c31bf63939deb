"""A certificate for a test."""

import hashlib
import ssl
import subprocess
from pathlib import Path

from tests.broker import find


def self_signed(folder: Path) -> tuple[str, str]:
    """Return the files of a self-signed certificate for 127.0.0.1, as devices have
    them, and of its key."""
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = [
        find("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=device"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key


def fingerprint(cert: str) -> str:
    """Return the SHA-256 of a certificate in a PEM file."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(cert).read_text())).hexdigest()
