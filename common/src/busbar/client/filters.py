"""Which topic filters the broker is asked for: none inside another, which Mosquitto would deliver twice (MQTT 5)."""

from collections import Counter
from collections.abc import Iterable


class Filters:
    """Counts who wants what; `active` is what the broker should send."""

    def __init__(self) -> None:
        self._wanted: Counter[str] = Counter()
        self.active: set[str] = set()

    def add(self, filters: Iterable[str]) -> tuple[set[str], set[str]]:
        """Want filters; return which to subscribe and which to unsubscribe."""
        self._wanted.update(filters)
        return self._settle()

    def remove(self, filters: Iterable[str]) -> tuple[set[str], set[str]]:
        """Want filters no more; return which to subscribe and which to unsubscribe."""
        self._wanted.subtract(filters)
        self._wanted = +self._wanted
        return self._settle()

    def _settle(self) -> tuple[set[str], set[str]]:
        before = self.active
        self.active = {each for each in self._wanted if not any(covers(wide, each) for wide in self._wanted)}
        return self.active - before, before - self.active


def covers(wide: str, narrow: str) -> bool:
    """True if one filter takes all that another, different one takes."""
    if wide == narrow:
        return False
    wides, narrows = wide.split("/"), narrow.split("/")
    for position, level in enumerate(wides):
        if level == "#":
            return True
        if position >= len(narrows) or narrows[position] == "#" or level not in ("+", narrows[position]):
            return False
    return len(wides) == len(narrows)
