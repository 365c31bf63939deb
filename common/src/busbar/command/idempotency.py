"""Outcomes of commands with an id: a command is not run twice.

Source: docs/contract.md, 2 (`_id`).
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from busbar.contract import messages
from busbar.contract.messages import Reply
from busbar.errors import Duplicate

MEMORY = 600.0  # s
COUNT_LIMIT = 1000
BYTES_LIMIT = 4 * 1024 * 1024
SHORTEST_ID = 8  # characters

Key = tuple[str, str, str]  # device, target, id


@dataclass
class _Entry:
    digest: bytes
    expires: float
    outcome: asyncio.Future[Reply]
    size: int = 0


class RememberedOutcomes:
    """The outcomes of one bridge, forgotten after 10 minutes, by number, or by size.

    The oldest first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0

    def begin(self, key: Key, arguments: object) -> asyncio.Future[Reply] | None:
        """Return the outcome, perhaps still to come, of the same command.

        None = it is new, run it and `finish` it.
        """
        self._forget()
        digest = hashlib.sha256(messages.canonical(arguments)).digest()
        entry = self._entries.get(key)
        if entry is None:
            outcome: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._entries[key] = _Entry(digest, self._clock() + MEMORY, outcome)
            return None
        if entry.digest != digest:
            raise Duplicate(
                f"id {key[2]!r} was used for other arguments of {key[1]} within "
                f"the "
                f"last 10 minutes"
            )
        return entry.outcome

    def finish(self, key: Key, reply: Reply, *, keep: bool) -> None:
        """Tell an outcome to those who ask again.

        `keep` is False for what was never started and may be tried again.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.outcome.set_result(reply)
        if not keep:
            del self._entries[key]
            return
        entry.size = len(messages.encode(reply))
        self._bytes += entry.size
        self._forget()

    def _forget(self) -> None:
        """Drop the oldest; those that still run stay: the queues bound them."""
        now = self._clock()
        for key, entry in list(self._entries.items()):
            full = len(self._entries) > COUNT_LIMIT or self._bytes > BYTES_LIMIT
            if not full and entry.expires > now:
                return
            if entry.outcome.done():
                del self._entries[key]
                self._bytes -= entry.size
