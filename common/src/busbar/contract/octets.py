"""Bytes of a protocol in arguments and results, as text, hex or base64.

Source: docs/contract.md, 3.
"""

import base64
import binascii
from typing import Literal

from busbar.errors import BadRequest

Encoding = Literal["text", "hex", "base64"]


def from_text(text: str, encoding: Encoding, charset: str = "utf-8") -> bytes:
    """Return the bytes that an argument stands for; raise BadRequest."""
    try:
        if encoding == "text":
            return text.encode(charset)
        if encoding == "hex":
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        said = f"{text!r:.60} is not {encoding}"
        raise BadRequest(f"{said}: {error}") from error


def to_text(
    data: bytes, encoding: Encoding, charset: str = "utf-8"
) -> tuple[str, Encoding]:
    """Return bytes for JSON and how they are written: base64 where they are no text."""
    if encoding == "text":
        try:
            return data.decode(charset), "text"
        except UnicodeDecodeError:
            encoding = "base64"
    if encoding == "hex":
        return data.hex(), "hex"
    return base64.b64encode(data).decode(), "base64"
