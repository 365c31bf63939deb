"""Smaller devices of the simulated observatory."""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from busbar.codecs import indi
from busbar.codecs.indi import DefMember
from indi_bridge.simulator.driver import (
    AT_MOST_ONE,
    Send,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)

Values = Mapping[str, str]

FARTHEST = 100000.0  # steps of a focuser
FILTERS = ("Red", "Green", "Blue", "H_Alpha", "SII", "OIII", "LPR", "Luminance")
SLOTS = len(FILTERS)
TEXT = 0.04  # s from a refusal to its text
PACE = 10000.0  # steps a second of the silent focuser
STORM = 20.0  # wind from which on it is an Alert


class SimulatedFocuser(SimulatedDriver):
    """A focuser of 100 000 steps, 20 000 a second, Busy on its way."""

    def __init__(self, send: Send) -> None:
        super().__init__("Focuser Simulator", send)
        position = SimulatedNumber(50000.0, "%.f", 0.0, FARTHEST, 1000.0)
        positions = {"FOCUS_ABSOLUTE_POSITION": position}
        self.number("ABS_FOCUS_POSITION", positions, self._absolute)
        steps = SimulatedNumber(0.0, "%.f", 0.0, FARTHEST, 1000.0)
        relative = {"FOCUS_RELATIVE_POSITION": steps}
        self.number("REL_FOCUS_POSITION", relative, self._relative)
        directions = {"FOCUS_INWARD": True, "FOCUS_OUTWARD": False}
        self.switch("FOCUS_MOTION", directions, timeout=60.0)
        abort = {"ABORT": False}
        self.switch("FOCUS_ABORT_MOTION", abort, self._abort, **AT_MOST_ONE)

    def _absolute(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["FOCUS_ABSOLUTE_POSITION"])
        if not 0 <= target <= FARTHEST:
            _refuse_position(self, wanted, target)
            return
        self.move("ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION", target, 20000.0)

    def _relative(self, wanted: SimulatedVector, values: Values) -> None:
        steps = indi.parse_number(values["FOCUS_RELATIVE_POSITION"])
        self._send(wanted.update("Busy", FOCUS_RELATIVE_POSITION=repr(steps)))
        if self.vectors["FOCUS_MOTION"].values["FOCUS_INWARD"] == "On":
            steps = -steps
        member = "FOCUS_ABSOLUTE_POSITION"
        here = self.vectors["ABS_FOCUS_POSITION"].number(member)
        target = min(FARTHEST, max(0.0, here + steps))

        def on_end() -> None:
            self._send(wanted.update("Ok"))

        self.move("ABS_FOCUS_POSITION", member, target, 20000.0, on_end)

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("ABS_FOCUS_POSITION")
        self.show("ABS_FOCUS_POSITION", "Idle")
        self._send(wanted.update("Ok", ABORT="Off"))


class SilentFocuser(SimulatedDriver):
    """A focuser that is not Busy on its way, and reads nothing meanwhile.

    It says what indi_simulator_focus says. Source: docs/protocols/indi.md, 10.4;
    tests/traces/indi/focus-*.
    """

    def __init__(self, send: Send) -> None:
        super().__init__("Focuser Simulator", send)
        self._moving = False
        self._unread: deque[Callable[[], None]] = deque()
        position = SimulatedNumber(50000.0, "%.f", 0.0, FARTHEST, 1000.0)
        positions = {"FOCUS_ABSOLUTE_POSITION": position}
        self.number("ABS_FOCUS_POSITION", positions, self._absolute)
        steps = SimulatedNumber(0.0, "%.f", 0.0, FARTHEST, 1000.0)
        relative = {"FOCUS_RELATIVE_POSITION": steps}
        self.number("REL_FOCUS_POSITION", relative, self._relative)
        directions = {"FOCUS_INWARD": True, "FOCUS_OUTWARD": False}
        self.switch("FOCUS_MOTION", directions, timeout=60.0)

    def set(self, name: str, values: Values) -> None:
        if self._moving:
            self._unread.append(partial(super().set, name, values))
        else:
            super().set(name, values)

    def _absolute(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["FOCUS_ABSOLUTE_POSITION"])
        if not 0 <= target <= FARTHEST:
            _refuse_position(self, wanted, target)
            return

        def on_end() -> None:
            self.say(f"[INFO] Focuser moved to position {target:.0f}")
            self.show("ABS_FOCUS_POSITION", "Ok", FOCUS_ABSOLUTE_POSITION=repr(target))

        self._block(target, on_end)

    def _relative(self, wanted: SimulatedVector, values: Values) -> None:
        steps = indi.parse_number(values["FOCUS_RELATIVE_POSITION"])
        inward = self.vectors["FOCUS_MOTION"].values["FOCUS_INWARD"] == "On"
        position = self.vectors["ABS_FOCUS_POSITION"]
        here = position.number("FOCUS_ABSOLUTE_POSITION")
        target = min(FARTHEST, max(0.0, here - steps if inward else here + steps))
        self._send(position.update("Busy"))

        def on_end() -> None:
            side = "inward" if inward else "outward"
            text = f"Focuser moved {steps:.0f} steps {side}"
            self._send(wanted.update("Ok", text, **values))
            self._send(position.update("Ok", FOCUS_ABSOLUTE_POSITION=repr(target)))

        self._block(target, on_end)

    def _block(self, target: float, on_end: Callable[[], None]) -> None:
        """Move, then read what has been asked for meanwhile."""
        self._moving = True
        here = self.vectors["ABS_FOCUS_POSITION"].number("FOCUS_ABSOLUTE_POSITION")

        def done() -> None:
            self._moving = False
            on_end()
            while self._unread and not self._moving:
                self._unread.popleft()()

        self.after("move", abs(target - here) / PACE, done)


def _refuse_position(
    driver: SimulatedDriver, wanted: SimulatedVector, target: float
) -> None:
    """Refuse a position; the text follows."""
    driver.show(wanted.definition.name, "Alert")
    bound = f"maximum position is {FARTHEST:.0f}"
    if target < 0:
        bound = "minimum position is 0"
    text = f"[ERROR] Requested position out of bound. Focus {bound}"
    driver.after("text", TEXT, lambda: driver.say(text))


class SimulatedFilterWheel(SimulatedDriver):
    """A filter wheel of eight."""

    def __init__(self, send: Send) -> None:
        super().__init__("Filter Simulator", send)
        slot = SimulatedNumber(1.0, "%3.0f", 1.0, float(SLOTS), 1.0)
        self.number("FILTER_SLOT", {"FILTER_SLOT_VALUE": slot}, self._turn)
        filters = {}
        for number, name in enumerate(FILTERS, 1):
            filters[f"FILTER_SLOT_NAME_{number}"] = name
        self.text("FILTER_NAME", filters)

    def _turn(self, wanted: SimulatedVector, values: Values) -> None:
        slot = values["FILTER_SLOT_VALUE"]
        number = indi.parse_number(slot)
        if not 1 <= number <= SLOTS:
            self.say(f"[ERROR] Error: valid range of filter is from 1 to {SLOTS}")
            self._send(wanted.update("Alert"))
            return
        self.say(f"[INFO] Setting current filter to slot {number:.0f}")
        self._send(wanted.update("Busy"))

        def on_end() -> None:
            self._send(wanted.update("Ok", FILTER_SLOT_VALUE=slot))

        self.after("turn", 0.5, on_end)


class SimulatedWeatherStation(SimulatedDriver):
    """A weather station; always connected."""

    def __init__(self, send: Send) -> None:
        super().__init__("Weather Simulator", send, switched=False)
        self._random = Random(2)
        parameters = {
            "WEATHER_TEMPERATURE": SimulatedNumber(12.0, "%4.2f", -30.0, 50.0, 0.0),
            "WEATHER_WIND_SPEED": SimulatedNumber(5.0, "%4.2f", 0.0, 200.0, 0.0),
        }
        self.number("WEATHER_PARAMETERS", parameters, perm="ro")
        lights = [
            DefMember("WEATHER_TEMPERATURE", "Temperature", "Ok"),
            DefMember("WEATHER_WIND_SPEED", "Wind", "Ok"),
        ]
        self.define(
            "Light", "WEATHER_STATUS", lights, label="Status", state="Ok", perm="ro"
        )
        self._blow()

    def _blow(self) -> None:
        before = self.vectors["WEATHER_PARAMETERS"].number("WEATHER_WIND_SPEED")
        wind = max(0.0, before + self._random.gauss(0, 2))
        self.show("WEATHER_PARAMETERS", "Ok", WEATHER_WIND_SPEED=f"{wind:.2f}")
        state = "Ok" if wind < STORM else "Alert"
        self.show("WEATHER_STATUS", state, WEATHER_WIND_SPEED=state)
        self.after("wind", 2.0, self._blow)
