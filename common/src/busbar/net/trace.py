"""The level TRACE and what it shows.

Every message both ways, as text or hex, long bodies elided, secrets left out.
"""

import logging

TRACE = 5
LEVELS = {"trace": TRACE, "debug": 10, "info": 20, "warning": 30, "error": 40}
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
    """Return bytes as quoted text if they are printable ASCII, else as hex.

    At most SHOWN of them.
    """
    head = data[:SHOWN]
    printable = all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    text = repr(head.decode()) if printable else head.hex(" ")
    if len(data) > SHOWN:
        return f"{text}... ({len(data)} bytes)"
    return text


class Redact(logging.Filter):
    """Replaces secrets in every record with ***."""

    def __init__(self, secrets: frozenset[str]) -> None:
        super().__init__()
        forms: set[str] = set()
        for secret in filter(None, secrets):
            forms |= _forms(secret)
        self._secrets = sorted(forms, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        clean = self._redacted(text)
        if clean != text:
            record.msg = clean
            record.args = ()
        if record.exc_info:
            trace = record.exc_text or _TRACEBACK.formatException(record.exc_info)
            record.exc_text = self._redacted(trace)
        return True

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


_TRACEBACK = logging.Formatter()


def _forms(secret: str) -> set[str]:
    """Return a secret as a record may show it: itself, in hex, escaped by `repr`."""
    escaped = repr(secret)[1:-1]
    return {
        secret,
        secret.encode().hex(" "),
        escaped,
        escaped.replace("\\'", "'").replace("'", "\\'"),
    }


def set_level(level: int, logger: str = "") -> None:
    """Set the level of one of our loggers (`wire.psu`), with "" of all of them.

    WARNING and up are events anyway.
    """
    for name in list(logging.root.manager.loggerDict):
        if not logger and name.startswith("busbar."):
            logging.getLogger(name).setLevel(logging.NOTSET)
    name = f"busbar.{logger}" if logger else "busbar"
    logging.getLogger(name).setLevel(min(level, logging.WARNING))
    quiet = level > logging.WARNING and not logger
    for handler in logging.root.handlers:
        handler.setLevel(level if quiet else logging.NOTSET)
