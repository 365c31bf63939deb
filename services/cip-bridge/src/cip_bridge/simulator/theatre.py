"""Program of the simulated processor: lights, volume, sources, a clock; no sockets."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial

from busbar.codecs.cip import Join, Kind, Update
from cip_bridge.join_state import Value

SEEN_KEPT = 10_000  # values from panels, for tests to look at
FULL = 65535
STEP = FULL // 20

# Joins from the panel: buttons and levels. The feedback of each is on the join of the
# same number.
LIGHTS, SCENE_OFF = 1, 2
VOLUME_UP, VOLUME_DOWN, MUTE = 11, 12, 13
SOURCES = (21, 22, 23)
LIGHT_LEVEL, VOLUME = 1, 2  # analog
ROOM, SOURCE, CLOCK = 1, 2, 3  # serial, to the panel only
NAMES = ("Laptop", "Blu-ray", "Camera")


class Theatre:
    """What the panels of one IP-ID control; `drive` gives a join of theirs a value."""

    def __init__(self, drive: Callable[[Join, Value], None]) -> None:
        self.seen: deque[tuple[Join, Value]] = deque(maxlen=SEEN_KEPT)
        self._send = drive
        self._values: dict[tuple[Kind, int], Value] = {}
        self._told: dict[Join, Value] = {}  # the newest of the panels
        self._actions: dict[int, Callable[[], None]] = {
            LIGHTS: lambda: self._light(
                0 if self.value("analog", LIGHT_LEVEL) else FULL
            ),
            SCENE_OFF: lambda: self._light(0),
            VOLUME_UP: lambda: self._step(STEP),
            VOLUME_DOWN: lambda: self._step(-STEP),
            MUTE: lambda: self._drive("digital", MUTE, not self.value("digital", MUTE)),
            **{
                number: partial(self._select, place)
                for place, number in enumerate(SOURCES)
            },
        }

    def start(self) -> None:
        """Show how the room is when the program has started."""
        self._told.clear()
        self._drive("serial", ROOM, "Theatre")
        for place, name in enumerate(NAMES, start=1):
            self._drive("serial", 20 + place, name)
        self._drive("analog", VOLUME, FULL // 2)
        self._select(0)

    def tick(self, now: datetime) -> None:
        """Show the time."""
        self._drive("serial", CLOCK, f"{now:%H:%M}")

    def take(self, updates: list[Update]) -> None:
        """Do what the panels say.

        A press or value that is only repeated (after an update, all are) changes
        nothing.
        """
        for update in updates:
            self.seen.append((update.join, update.value))
            if self._told.get(update.join) != update.value:
                self._told[update.join] = update.value
                self._act(update.join, update.value)

    def _act(self, join: Join, value: Value) -> None:
        if join.smart is not None or join.slots:
            self._send(join, value)  # feedback, as most programs give it
        elif join.kind == "digital":
            self._button(join, bool(value))
        elif join.kind == "analog":
            self._level(join.number, int(value))
        else:
            self._drive("serial", join.number, value)

    def value(self, kind: Kind, number: int) -> Value | None:
        """Return what a join of ours has been given."""
        return self._values.get((kind, number))

    def change(self, join: Join, value: Value) -> None:
        """Change a value as somebody at the wall would."""
        self._values[join.kind, join.number] = value
        self._send(join, value)

    def _button(self, join: Join, pressed: bool) -> None:
        action = self._actions.get(join.number)
        if action is None:
            self._drive("digital", join.number, pressed)
        elif pressed:
            action()

    def _level(self, number: int, value: int) -> None:
        if number == LIGHT_LEVEL:
            self._light(value)
        else:
            self._drive("analog", number, value)

    def _step(self, step: int) -> None:
        volume = int(self.value("analog", VOLUME) or 0) + step
        self._drive("analog", VOLUME, min(FULL, max(0, volume)))

    def _light(self, level: int) -> None:
        self._drive("analog", LIGHT_LEVEL, level)
        self._drive("digital", LIGHTS, level > 0)

    def _select(self, place: int) -> None:
        for each, number in enumerate(SOURCES):
            self._drive("digital", number, each == place)
        self._drive("serial", SOURCE, NAMES[place])

    def _drive(self, kind: Kind, number: int, value: Value) -> None:
        if self._values.get((kind, number)) != value:
            self._values[kind, number] = value
            self._send(Join(kind, number), value)
