"""Reading back what the broker retains under our own prefix. Source: docs/contract.md, 5.4."""

import asyncio
import logging

from busbar.broker import Received
from busbar.mqtt import Connection
from busbar.topics import Topics

log = logging.getLogger(__name__)

QUIET = 0.3  # s without another retained message: that was all
LONGEST = 5.0  # s


class Leftovers:
    """Collects the retained topics of one bridge."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._found: set[str] | None = None
        self._busy = asyncio.Lock()

    def saw(self, received: Received) -> None:
        """Take note of a message that is not a command."""
        if self._found is not None and received.retain and received.payload:
            self._found.add(received.topic)

    async def collect(self, link: Connection) -> set[str]:
        """Return the topics of status, info, state and blob that the broker retains now."""
        async with self._busy:
            return await self._collect(link)

    async def _collect(self, link: Connection) -> set[str]:
        self._found = set()
        try:
            await link.subscribe(self._topics.leftovers)
            async with asyncio.timeout(LONGEST):
                count = -1
                while count != len(self._found):
                    count = len(self._found)
                    await asyncio.sleep(QUIET)
        except TimeoutError:
            log.warning("more than %d retained topics under our prefix; looked at these only", len(self._found))
        finally:
            found, self._found = self._found, None
        await link.unsubscribe(self._topics.leftovers)
        return found
