"""Errors of ours that cost one reading, event or blob: counted, logged once."""

import logging
from typing import Any

log = logging.getLogger("busbar.session")

KNOWN_LIMIT = 10_000  # different ones; beyond they are counted


class OwnErrors:
    """The errors of one bridge."""

    def __init__(self) -> None:
        self.count = 0
        self._known: set[tuple[Any, ...]] = set()

    def note(self, device: str, item: str, error: Exception) -> None:
        """Count an error; log it with its traceback if it is a new one."""
        self.count += 1
        known = (device, item, type(error), _line(error))
        if known in self._known or len(self._known) >= KNOWN_LIMIT:
            return
        self._known.add(known)
        log.error(
            "%s: %s: %s: %s (logged once)",
            device,
            item,
            type(error).__name__,
            error,
            exc_info=error,
            # an error that was not raised where it was made has no traceback to show
            stack_info=True,
            extra={"device": device},
        )


def _line(error: Exception) -> int | None:
    """Return the line that raised it, which tells two errors of one kind apart."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_lineno
