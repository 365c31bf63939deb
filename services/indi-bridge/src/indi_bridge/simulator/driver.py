"""What a simulated driver is.

Properties, whether it is connected, things that take time; no sockets.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping

from busbar.codecs import indi
from busbar.codecs.indi import (
    DefMember,
    DefVector,
    DelProperty,
    Element,
    Message,
    NewBlob,
    SetVector,
)

STEP = 0.25  # s between steps of a motion
Tell = Callable[[Element], None]
TellBlob = Callable[[SetVector, dict[str, NewBlob]], None]


def now() -> str:
    return indi.format_time(round(time.time()))


class Property:
    """One vector of a driver."""

    def __init__(self, definition: DefVector) -> None:
        self.definition = definition
        self.state = definition.state
        self.values = {member.name: member.value for member in definition.members}

    def defined(self) -> DefVector:
        """Return the definition with the values of now."""
        d = self.definition
        members = tuple(
            DefMember(
                m.name, m.label, self.values[m.name], m.format, m.min, m.max, m.step
            )
            for m in d.members
        )
        return DefVector(
            d.kind,
            d.device,
            d.name,
            members,
            d.label,
            d.group,
            self.state,
            d.perm,
            d.rule,
            d.timeout,
            now(),
        )

    def number(self, member: str) -> float:
        return indi.parse_number(self.values[member])

    def news(self, state: str, message: str = "", **values: str) -> SetVector:
        """Take values and return the element that tells of them."""
        self.values.update(values)
        self.state = state
        d = self.definition
        members = {} if d.kind == "BLOB" else dict(self.values)
        return SetVector(
            d.kind, d.device, d.name, members, state, d.timeout, now(), message
        )

    def choose(self, wanted: Mapping[str, str]) -> None:
        """Take switches under their rule."""
        on = [name for name, value in wanted.items() if value == "On"]
        if on and self.definition.rule in ("OneOfMany", "AtMostOne"):
            self.values = dict.fromkeys(self.values, "Off")
        self.values.update(
            {name: value for name, value in wanted.items() if name in self.values}
        )


class Driver:
    """One device.

    Connected or not, with properties that are there always and others only while it is
    connected.
    """

    def __init__(self, name: str, tell: Tell, *, switched: bool = True) -> None:
        self.name = name
        self.properties: dict[str, Property] = {}
        self.connected = not switched
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._later: list[DefVector] = []  # defined once it is connected
        self._handlers: dict[str, Callable[[Property, Mapping[str, str]], None]] = {}
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
                self._connection,
                timeout=60,
            )

    # What a device has.

    def number(
        self, name: str, members: Mapping[str, tuple[float, str, float, float, float]], handler: object = None, *,
        perm: str = "rw", group: str = "Main Control", timeout: float = 60, later: bool = False,
    ) -> None:  # fmt: skip
        """Define numbers: name -> value, format, min, max, step."""
        made = tuple(
            DefMember(
                member, member, repr(value), form, f"{low:g}", f"{high:g}", f"{step:g}"
            )
            for member, (value, form, low, high, step) in members.items()
        )
        self._define(
            DefVector(
                "Number", self.name, name, made, name, group, "Idle", perm, "", timeout
            ),
            handler,
            later,
        )

    def text(
        self, name: str, members: Mapping[str, str], handler: object = None, *, perm: str = "rw",
        group: str = "Main Control", later: bool = False,
    ) -> None:  # fmt: skip
        made = tuple(
            DefMember(member, member, value) for member, value in members.items()
        )
        self._define(
            DefVector("Text", self.name, name, made, name, group, "Idle", perm),
            handler,
            later,
        )

    def switch(
        self, name: str, members: Mapping[str, bool], handler: object = None, *, rule: str = "OneOfMany",
        timeout: float = 0, later: bool = False,
    ) -> None:  # fmt: skip
        made = tuple(
            DefMember(member, member, "On" if value else "Off")
            for member, value in members.items()
        )
        vector = DefVector(
            "Switch",
            self.name,
            name,
            made,
            name,
            "Main Control",
            "Idle",
            "rw",
            rule,
            timeout,
        )
        self._define(vector, handler, later)

    def other(self, vector: DefVector, *, later: bool = False) -> None:
        self._define(vector, None, later)

    def _define(self, vector: DefVector, handler: object, later: bool) -> None:
        if callable(handler):
            self._handlers[vector.name] = handler
        if later:
            self._later.append(vector)
        else:
            self.properties[vector.name] = Property(vector)

    # What happens to it.

    def definitions(self, name: str = "") -> list[DefVector]:
        return [
            each.defined() for key, each in self.properties.items() if name in ("", key)
        ]

    def set(self, name: str, values: Mapping[str, str]) -> None:
        """A client has set a property; an unknown one is not answered, as in INDI."""
        wanted = self.properties.get(name)
        if wanted is None:
            return
        handler = self._handlers.get(name, self._just_take)
        handler(wanted, values)

    def say(self, text: str) -> None:
        self._tell(Message(text, self.name, now()))

    def show(self, name: str, state: str, **values: str) -> None:
        """Tell of values that the device itself has changed."""
        if name in self.properties:
            self._tell(self.properties[name].news(state, **values))

    def after(self, key: str, seconds: float, work: Callable[[], None]) -> None:
        """Do something later; of one key the last counts."""
        if key in self._timers:
            self._timers[key].cancel()
        self._timers[key] = self._loop.call_later(seconds, work)

    def stop(self, key: str) -> None:
        """Do not do it."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _just_take(self, wanted: Property, values: Mapping[str, str]) -> None:
        if wanted.definition.kind == "Switch":
            wanted.choose(values)
            self._tell(wanted.news("Ok"))
        else:
            self._tell(
                wanted.news(
                    "Ok", **{k: v for k, v in values.items() if k in wanted.values}
                )
            )

    def _connection(self, wanted: Property, values: Mapping[str, str]) -> None:
        wanted.choose(values)
        connect = wanted.values["CONNECT"] == "On"
        self._tell(wanted.news("Ok" if connect else "Idle"))
        if connect and not self.connected:
            self.say(f"[INFO] {self.name} is online.")
            for vector in self._later:
                self.properties[vector.name] = Property(vector)
                self._tell(self.properties[vector.name].defined())
        if not connect and self.connected:
            self.close()
            for vector in self._later:
                del self.properties[vector.name]
                self._tell(DelProperty(self.name, vector.name, now()))
        self.connected = connect

    def move(
        self,
        name: str,
        member: str,
        target: float,
        speed: float,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Let a number go to a target, `speed` a second, Busy on its way."""
        wanted = self.properties[name]
        start = wanted.number(member)
        wait = min(STEP, abs(target - start) / speed)

        def step() -> None:
            here = wanted.number(member)
            left = target - here
            if abs(left) <= speed * STEP:
                self._tell(wanted.news("Ok", **{member: repr(target)}))
                done()
                return
            self._tell(
                wanted.news(
                    "Busy", **{member: repr(here + math.copysign(speed * STEP, left))}
                )
            )
            self.after(name, STEP, step)

        self._tell(wanted.news("Busy"))
        self.after(name, wait, step)
