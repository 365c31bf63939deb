"""A condition that can be waited for both ways."""

import asyncio


class TwoWayEvent:
    """Like asyncio.Event, which can only be waited for to be set."""

    def __init__(self) -> None:
        self._set = asyncio.Event()
        self._cleared = asyncio.Event()
        self._cleared.set()

    def is_set(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        self._set.set()
        self._cleared.clear()

    def clear(self) -> None:
        self._set.clear()
        self._cleared.set()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._set.wait()

    async def wait_cleared(self, seconds: float = 0.0) -> None:
        """Return when it has been cleared for so long (s) without a break."""
        while True:
            await self._cleared.wait()
            try:
                async with asyncio.timeout(seconds):
                    await self._set.wait()
            except TimeoutError:
                return
