"""Topic filters that the broker is asked for.

None inside another: Mosquitto would deliver its messages twice (MQTT 5).
"""

import itertools
from collections import Counter
from collections.abc import Iterable

from busbar.contract.names import LEVEL


class Filters:
    """Counts who wants what; `active` is what the broker should send."""

    def __init__(self) -> None:
        self._wanted: Counter[str] = Counter()
        self.active: set[str] = set()

    def add(self, filters: Iterable[str]) -> tuple[set[str], set[str]]:
        """Want filters.

        Return which to subscribe and which to unsubscribe; raise ValueError for a wrong
        one.
        """
        more = list(filters)
        for each in more:
            check(each)
        self._wanted.update(more)
        return self._update()

    def remove(self, filters: Iterable[str]) -> tuple[set[str], set[str]]:
        """Want filters no more; return which to subscribe and which to unsubscribe."""
        self._wanted.subtract(filters)
        self._wanted = +self._wanted
        return self._update()

    def _update(self) -> tuple[set[str], set[str]]:
        before = self.active
        self.active = set(self._wanted)
        for each in self._wanted:
            if any(covers(wide, each) for wide in self._wanted):
                self.active.remove(each)
        return self.active - before, before - self.active


def check(name: str) -> None:
    """Raise ValueError for a filter that no name of the contract fits.

    A broker would close the connection for some.
    """
    levels = name.split("/")
    if levels[-1] == "#":
        levels.pop()
    if not all(level == "+" or LEVEL.fullmatch(level) for level in levels):
        raise ValueError(
            f"{name!r:.200}: a level is 1 to 64 of A-Z a-z 0-9 _ -, or + for any, or "
            f"# at the end for the rest"
        )


def is_any_of(wides: Iterable[str], narrows: Iterable[str]) -> bool:
    """True if one of the filters is, or lies within, one of `wides`."""
    pairs = itertools.product(wides, narrows)
    return any(wide == narrow or covers(wide, narrow) for wide, narrow in pairs)


def covers(wide: str, narrow: str) -> bool:
    """True if one filter takes all that another, different one takes."""
    if wide == narrow:
        return False
    wides = wide.split("/")
    narrows = narrow.split("/")
    for position, level in enumerate(wides):
        if level == "#":
            return True
        if (
            position >= len(narrows)
            or narrows[position] == "#"
            or level not in ("+", narrows[position])
        ):
            return False
    return len(wides) == len(narrows)
