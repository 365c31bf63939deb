"""Schedule of polling: blocks that are read together, turns of units, quarantine.

It has no clock: the caller gives the time (s).

Properties of a unit with one period that are neighbours in a table are one block, one
request. Units take turns: while one has been served, every other that is due comes
first. A unit that stays silent is in quarantine: it is asked ever more rarely, so that
it takes at most a tenth of the line.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from busbar.codecs.modbus import BITS_READ, REGISTERS_READ, Read, Table

SHARE = 10.0  # a unit in quarantine waits at least so many timeouts between two probes
# first digits of the numbers that makers write; 1xxxx and 0xxxx are rare
NOTATION = {"input": 3, "holding": 4}
AGAIN = 10.0  # s until something that is read once, and could not be, is tried again


@dataclass(frozen=True)
class Item:
    """One property to be read.

    Its place, how many bits or registers, its period (s; 0: once).
    """

    path: str
    table: Table
    address: int
    count: int
    every: float = 0.0

    @property
    def end(self) -> int:
        return self.address + self.count


@dataclass(frozen=True, eq=False)  # each is itself: it is a key at every reading
class Block:
    """Items that one request reads."""

    items: tuple[Item, ...]

    @cached_property
    def first(self) -> Item:
        return self.items[0]

    @cached_property
    def every(self) -> float:
        return self.first.every

    @cached_property
    def paths(self) -> list[str]:
        return [item.path for item in self.items]

    @cached_property
    def end(self) -> int:
        return max(item.end for item in self.items)

    @cached_property
    def request(self) -> Read:
        """The request that reads all items."""
        return Read(self.first.table, self.first.address, self.end - self.first.address)

    @cached_property
    def places(self) -> dict[str, slice]:
        """Path -> what of the answer belongs to it: bytes of registers, or bits."""
        size = 1 if self.request.bits else 2
        start = self.first.address
        places = {}
        for item in self.items:
            begin = size * (item.address - start)
            places[item.path] = slice(begin, size * (item.end - start))
        return places

    @property
    def place(self) -> str:
        """Where it is, in words: holding 12, or holding 12 to 13."""
        count = self.request.count
        end = f" to {self.end - 1}" if count > 1 else ""
        return f"{self.first.table} {self.first.address}{end}"

    def sample(self, number: int) -> Read:
        """Return the request that reads one item, another one each time."""
        item = self.items[number % len(self.items)]
        return Read(item.table, item.address, item.count)

    @property
    def noted_as(self) -> str:
        """What the number of the address may have meant, in the notation of makers."""
        digit = NOTATION.get(self.first.table)
        number = self.first.address
        if digit is None or not 1 <= number - digit * 10_000 <= 9999:
            return ""
        meant = number - digit * 10_000 - 1
        return f"{number} of a data sheet that counts so is {self.first.table} {meant}"

    @cached_property
    def pieces(self) -> "list[Block]":
        """Smaller blocks for a unit that refuses this one.

        Without the holes, else two halves; always the same.
        """
        pieces = join(self.items, 0)
        if len(pieces) == 1 and len(self.items) > 1:
            middle = len(self.items) // 2
            pieces = [Block(self.items[:middle]), Block(self.items[middle:])]
        return pieces if len(pieces) > 1 else []


def join(
    items: Iterable[Item],
    gap: int,
    registers: int = REGISTERS_READ,
    bits: int = BITS_READ,
) -> list[Block]:
    """Return blocks.

    Neighbours up to `gap` unused registers (16 times as many bits) apart, within the
    limits.
    """
    blocks: list[Block] = []
    for item in sorted(items, key=_order):
        if item.table in ("coil", "discrete"):
            widest, limit = gap * 16, bits
        else:
            widest, limit = gap, registers
        if blocks and _fits(blocks[-1], item, widest, limit):
            blocks[-1] = Block((*blocks[-1].items, item))
        else:
            blocks.append(Block((item,)))
    return blocks


def _order(item: Item) -> tuple[str, float, int, int]:
    return item.table, item.every, item.address, item.count


def _fits(block: Block, item: Item, gap: int, limit: int) -> bool:
    if block.first.table != item.table or block.every != item.every:
        return False
    size = max(block.end, item.end) - block.first.address
    return item.address - block.end <= gap and size <= limit


@dataclass(frozen=True)
class Patience:
    """What is waited for a unit."""

    timeout: float = 1.0  # s for an answer
    silences: int = 2  # in a row until it is in quarantine
    probe: float = 30.0  # s at most between two probes


@dataclass
class _Unit:
    patience: Patience
    due: list[tuple[float, int, Block]] = field(default_factory=list)  # a heap
    served: int = 0  # the turn in which it was last
    failures: int = 0  # silences in a row
    probe: float | None = None  # in quarantine: when it is asked again
    overruns: int = 0
    # that have been read, and are not read again
    once: list[Block] = field(default_factory=list)


class Schedule:
    """Readings of all units in the order of their turns."""

    def __init__(
        self,
        blocks: Mapping[str, Sequence[Block]],
        patience: Mapping[str, Patience],
        now: float,
    ) -> None:
        self._units = {name: _Unit(patience[name]) for name in blocks}
        self._turn = self._number = 0
        for name, each in blocks.items():
            self.read_now(name, each, now)

    def take_next(self, now: float) -> tuple[str, Block, float] | None:
        """Return the due unit that has waited longest, its block, and its due time.

        None if no unit is due.
        """
        due = [name for name, unit in self._units.items() if self._due(unit) <= now]
        if not due:
            return None
        name = min(due, key=lambda each: self._units[each].served)
        unit = self._units[name]
        self._turn += 1
        unit.served = self._turn
        planned, _, block = heapq.heappop(unit.due)
        return name, block, planned

    def next_due(self) -> float:
        """Return when a unit is due next; infinity if none ever is."""
        return min(map(self._due, self._units.values()), default=float("inf"))

    def plan_next(
        self, name: str, block: Block, planned: float, now: float, read: bool = True
    ) -> None:
        """Plan the next reading of a block.

        Periods that were missed are counted, not caught up with.
        """
        unit = self._units[name]
        if not block.every:
            if read:
                unit.once.append(block)
            else:
                self._plan(name, now + AGAIN, block)
            return
        due = planned + block.every
        if due + block.every <= now:
            missed = int((now - due) / block.every)
            if unit.probe is None:
                unit.overruns += missed
            due += missed * block.every
        self._plan(name, due, block)

    def read_now(self, name: str, blocks: Iterable[Block], now: float) -> None:
        """Read these at once.

        Pieces of a block that was refused, or one that could not be read.
        """
        for block in blocks:
            self._plan(name, now, block)

    def replace(self, name: str, blocks: Iterable[Block], now: float) -> None:
        """Read other blocks of a unit from now on."""
        unit = self._units[name]
        unit.due, unit.once = [], []
        self.read_now(name, blocks, now)

    def note_answer(self, name: str, now: float) -> bool:
        """Take a unit out of quarantine; return True if it was there.

        Then all of it is due.
        """
        unit = self._units[name]
        was_silent = unit.probe is not None
        unit.failures = 0
        unit.probe = None
        if was_silent:
            blocks = [block for _, _, block in sorted(unit.due)]
            blocks += unit.once
            unit.due, unit.once = [], []
            self.read_now(name, blocks, now)
        return was_silent

    def note_silence(self, name: str, now: float) -> bool:
        """Count a silence; return True if the unit is in quarantine."""
        unit = self._units[name]
        unit.failures += 1
        if unit.failures < unit.patience.silences:
            return False
        least = SHARE * unit.patience.timeout
        most = max(least, unit.patience.probe)
        doublings = min(unit.failures - unit.patience.silences, 20)
        unit.probe = now + min(most, least * 2**doublings)
        return True

    def quarantine(self, name: str, failures: int, now: float) -> None:
        """Take up a quarantine of an earlier session.

        The unit is asked at once, and after a silence left alone.
        """
        unit = self._units[name]
        unit.failures = max(failures, unit.patience.silences)
        unit.probe = now

    def failures(self, name: str) -> int:
        """Return the silences in a row."""
        return self._units[name].failures

    def quarantined(self, name: str) -> bool:
        return self._units[name].probe is not None

    def overruns(self, name: str) -> int:
        """Return how many readings were missed because the line was busy."""
        return self._units[name].overruns

    def _due(self, unit: _Unit) -> float:
        if not unit.due:
            return float("inf")
        return unit.due[0][0] if unit.probe is None else unit.probe

    def _plan(self, name: str, due: float, block: Block) -> None:
        self._number += 1
        heapq.heappush(self._units[name].due, (due, self._number, block))
