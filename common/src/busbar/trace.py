"""The level TRACE and what it shows: every message both ways, as text or hex, long bodies elided, secrets left out."""

import logging

TRACE = 5
SHOWN = 256  # bytes of one message

logging.addLevelName(TRACE, "TRACE")


class Wire:
    """Logs one device's bytes on the logger `busbar.wire.<name>`."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(f"busbar.wire.{name}")

    def sent(self, data: bytes) -> None:
        self._show("->", data)

    def received(self, data: bytes) -> None:
        self._show("<-", data)

    def _show(self, arrow: str, data: bytes) -> None:
        if self._log.isEnabledFor(TRACE):
            self._log.log(TRACE, "%s %s", arrow, readable(data))


def readable(data: bytes) -> str:
    """Return bytes as quoted text if they are printable ASCII, else as hex; at most SHOWN of them."""
    head = data[:SHOWN]
    printable = all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    text = repr(head.decode()) if printable else head.hex(" ")
    return text if len(data) <= SHOWN else f"{text}... ({len(data)} bytes)"


class Redact(logging.Filter):
    """Replaces secrets in every record with ***."""

    def __init__(self, secrets: frozenset[str]) -> None:
        super().__init__()
        plain = {secret for secret in secrets if secret}
        self._secrets = sorted(plain | {secret.encode().hex(" ") for secret in plain}, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if any(secret in text for secret in self._secrets):
            for secret in self._secrets:
                text = text.replace(secret, "***")
            record.msg, record.args = text, ()
        return True
