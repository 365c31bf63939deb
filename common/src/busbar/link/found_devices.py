"""Devices of a link that no configuration names: which of them are there now."""

from collections.abc import Set

# s after which a device that has not appeared again is gone
# Source: docs/contract.md, 5
QUIET = 30.0


class FoundDevices:
    """The names that have appeared since the link came up."""

    def __init__(self) -> None:
        self._present: set[str] = set()
        self._changed = 0.0  # loop time when one last appeared, or the link came up

    def __contains__(self, name: str) -> bool:
        return name in self._present

    def on_link_up(self, now: float) -> None:
        """Wait from now on for those of before to appear again."""
        self._changed = now

    def on_link_down(self) -> None:
        """Expect each to appear again."""
        self._present.clear()

    def add(self, name: str, now: float) -> None:
        """Note a device that has appeared."""
        self._present.add(name)
        self._changed = now

    def keep(self, name: str) -> None:
        """Note a device whose session does not know yet that its name was taken."""
        self._present.add(name)

    def discard(self, name: str) -> None:
        """Note a device that has vanished."""
        self._present.discard(name)

    def missing(self, names: Set[str]) -> Set[str]:
        """Return which of the devices of before have not appeared again."""
        return names - self._present

    def is_quiet(self, now: float) -> bool:
        """Return whether nothing has appeared for so long that nothing will."""
        return now - self._changed >= QUIET
