"""Simulated driver: its vectors, its connection, and work that takes time.

No sockets.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from busbar.codecs import indi
from busbar.codecs.indi import (
    DefMember,
    DefVector,
    DelProperty,
    Element,
    Kind,
    Message,
    NewBlob,
    SetVector,
)

STEP = 0.25  # s between steps of a motion
# vectors that are there before a driver is connected, too
_ALWAYS = ("DRIVER_INFO", "CONNECTION")
# fields of switches of which one or none is on
AT_MOST_ONE: dict[str, Any] = {"rule": "AtMostOne", "timeout": 60.0}
_DEFAULTS: dict[Kind, dict[str, Any]] = {
    "Number": {"timeout": 60.0},
    "Switch": {"rule": "OneOfMany"},
}

Send = Callable[[Element], None]
SendBlob = Callable[[SetVector, dict[str, NewBlob]], None]


class SimulatedNumber(NamedTuple):
    """A number as it is defined."""

    value: float
    format: str
    min: float
    max: float
    step: float


def now() -> str:
    return indi.format_time(round(time.time()))


class SimulatedVector:
    """One vector of a driver."""

    def __init__(self, definition: DefVector) -> None:
        self.definition = definition
        self.state = definition.state
        self.values = {member.name: member.value for member in definition.members}
        # state and values as they were sent last
        self.said: tuple[str, dict[str, str]] = (self.state, dict(self.values))

    def defined(self) -> DefVector:
        """Return the definition with the present values."""
        members = []
        for member in self.definition.members:
            members.append(replace(member, value=self.values[member.name]))
        return replace(
            self.definition,
            members=tuple(members),
            state=self.state,
            timestamp=now(),
        )

    def number(self, member: str) -> float:
        return indi.parse_number(self.values[member])

    def update(self, state: str, message: str = "", **values: str) -> SetVector:
        """Take values and return the element that has them."""
        self.values.update(values)
        self.state = state
        self.said = (state, dict(self.values))
        definition = self.definition
        return SetVector(
            definition.kind,
            definition.device,
            definition.name,
            {} if definition.kind == "BLOB" else dict(self.values),
            state,
            definition.timeout,
            now(),
            message,
        )

    def take(self, wanted: Mapping[str, str]) -> None:
        """Take values of known members; switches under their rule."""
        exclusive = self.definition.rule in ("OneOfMany", "AtMostOne")
        if exclusive and "On" in wanted.values():
            self.values = dict.fromkeys(self.values, "Off")
        for name, value in wanted.items():
            if name in self.values:
                self.values[name] = value


Handler = Callable[[SimulatedVector, Mapping[str, str]], None]


class SimulatedDriver:
    """One device.

    Its own switch connects it, unless it always is. Most vectors are there only while
    it is connected.
    """

    online = ""  # what it says when it is connected, and when not any more
    offline = ""

    def __init__(self, name: str, send: Send, *, switched: bool = True) -> None:
        self.name = name
        self.vectors: dict[str, SimulatedVector] = {}
        self.connected = not switched
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._when_connected: list[DefVector] = []
        self._handlers: dict[str, Handler] = {}
        self.text(
            "DRIVER_INFO",
            {"DRIVER_NAME": name, "DRIVER_VERSION": "1.0"},
            group="General Info",
            perm="ro",
        )
        if switched:
            self.switch(
                "CONNECTION",
                {"CONNECT": False, "DISCONNECT": True},
                self._on_connection,
                timeout=60.0,
            )

    # What a device has.

    def number(
        self,
        name: str,
        members: Mapping[str, SimulatedNumber],
        handler: Handler | None = None,
        **more: Any,
    ) -> None:
        made = []
        for member, number in members.items():
            made.append(
                DefMember(
                    member,
                    member,
                    repr(number.value),
                    number.format,
                    f"{number.min:g}",
                    f"{number.max:g}",
                    f"{number.step:g}",
                )
            )
        self.define("Number", name, made, handler, **more)

    def text(
        self,
        name: str,
        members: Mapping[str, str],
        handler: Handler | None = None,
        **more: Any,
    ) -> None:
        made = [DefMember(member, member, text) for member, text in members.items()]
        self.define("Text", name, made, handler, **more)

    def switch(
        self,
        name: str,
        members: Mapping[str, bool],
        handler: Handler | None = None,
        **more: Any,
    ) -> None:
        made = []
        for member, on in members.items():
            made.append(DefMember(member, member, "On" if on else "Off"))
        self.define("Switch", name, made, handler, **more)

    def define(
        self,
        kind: Kind,
        name: str,
        members: Iterable[DefMember],
        handler: Handler | None = None,
        **more: Any,
    ) -> None:
        """Let the device have a vector; `more` are fields of its DefVector."""
        fields = {"label": name, "group": "Main Control", **_DEFAULTS.get(kind, {})}
        vector = DefVector(kind, self.name, name, tuple(members), **(fields | more))
        if handler is not None:
            self._handlers[name] = handler
        if self.connected or name in _ALWAYS:
            self.vectors[name] = SimulatedVector(vector)
        else:
            self._when_connected.append(vector)

    # What happens to it.

    def definitions(self, name: str = "") -> list[DefVector]:
        """Return the definition of a vector, or with "" of all."""
        found = self.vectors.items()
        return [each.defined() for key, each in found if name in ("", key)]

    def set(self, name: str, values: Mapping[str, str]) -> None:
        """Take what a client asks for; an unknown vector stays silent, as in INDI."""
        wanted = self.vectors.get(name)
        if wanted is not None:
            handler = self._handlers.get(name, self._take)
            handler(wanted, values)

    def on_connected(self) -> None:
        """Do what follows the definitions; for drivers that do something by then."""

    def say_saved(self) -> None:
        """Say that the driver has saved its configuration; it does so unasked."""
        self.say("[INFO] Saving device configuration...")
        self.say("[INFO] Device configuration saved.")

    def say(self, text: str) -> None:
        self._send(Message(text, self.name, now()))

    def show(self, name: str, state: str, **values: str) -> None:
        """Send values that the device itself has changed."""
        if name in self.vectors:
            self._send(self.vectors[name].update(state, **values))

    def move(
        self,
        name: str,
        member: str,
        target: float,
        speed: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Move a number to a target, `speed` a second, Busy on its way."""
        vector = self.vectors[name]
        stride = speed * STEP

        def step() -> None:
            here = vector.number(member)
            left = target - here
            if abs(left) <= stride:
                self._send(vector.update("Ok", **{member: repr(target)}))
                on_end()
                return
            next_ = here + math.copysign(stride, left)
            self._send(vector.update("Busy", **{member: repr(next_)}))
            self.after(name, STEP, step)

        self._send(vector.update("Busy"))
        way = abs(target - vector.number(member))
        self.after(name, min(STEP, way / speed), step)

    def after(self, key: str, seconds: float, work: Callable[[], None]) -> None:
        """Do work later, in place of what its key has waiting."""
        self.stop(key)
        self._timers[key] = self._loop.call_later(seconds, work)

    def stop(self, key: str) -> None:
        """Drop the work that waits."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _take(self, wanted: SimulatedVector, values: Mapping[str, str]) -> None:
        wanted.take(values)
        self._send(wanted.update("Ok"))

    def _on_connection(
        self, wanted: SimulatedVector, values: Mapping[str, str]
    ) -> None:
        wanted.take(values)
        connect = wanted.values["CONNECT"] == "On"
        text = self.online if connect else self.offline
        if text and connect != self.connected:
            self.say(text)
        self._send(wanted.update("Ok" if connect else "Idle"))
        if connect and not self.connected:
            self._connect()
        if not connect and self.connected:
            self._disconnect()
        self.connected = connect

    def _connect(self) -> None:
        for definition in self._when_connected:
            vector = SimulatedVector(definition)
            self.vectors[definition.name] = vector
            self._send(vector.defined())
        self.on_connected()

    def _disconnect(self) -> None:
        self.close()
        for definition in self._when_connected:
            del self.vectors[definition.name]
            self._send(DelProperty(self.name, definition.name, now()))
