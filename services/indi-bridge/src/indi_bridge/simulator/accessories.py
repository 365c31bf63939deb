"""Simulated rotator, light panel and GPS; they say what Debian's simulators say.

Source: docs/protocols/indi.md, 10; tests/traces/indi/rotator-turn, panel-light,
gps-refresh.
"""

import math
from collections.abc import Mapping

from busbar.codecs import indi
from indi_bridge.simulator.driver import (
    AT_MOST_ONE,
    Send,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)

Values = Mapping[str, str]

LOOK = 1.0  # s between looks at the angle
STRIDE = 10.0  # degrees between them


class SimulatedRotator(SimulatedDriver):
    """A rotator: ten degrees a second."""

    def __init__(self, send: Send) -> None:
        super().__init__("Rotator Simulator", send)
        angle = SimulatedNumber(0.0, "%.2f", 0.0, 360.0, 10.0)
        self.number("ABS_ROTATOR_ANGLE", {"ANGLE": angle}, self._turn, timeout=0.0)
        fields = AT_MOST_ONE | {"timeout": 0.0}
        self.switch("ROTATOR_ABORT_MOTION", {"ABORT": False}, self._abort, **fields)

    def _turn(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["ANGLE"])
        self._send(wanted.update("Busy"))
        self.say(f"[INFO] Rotator moving to {target:.2f} degrees...")
        self.after("angle", LOOK, lambda: self._turn_on(target))

    def _turn_on(self, target: float) -> None:
        vector = self.vectors["ABS_ROTATOR_ANGLE"]
        left = target - vector.number("ANGLE")
        if abs(left) <= STRIDE:
            self._send(vector.update("Ok", ANGLE=repr(target)))
            return
        here = vector.number("ANGLE") + math.copysign(STRIDE, left)
        self._send(vector.update("Busy", ANGLE=repr(here)))
        self.after("angle", LOOK, lambda: self._turn_on(target))

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("angle")
        self.show("ABS_ROTATOR_ANGLE", "Idle")
        self._send(wanted.update("Ok", ABORT="Off"))


class SimulatedLightPanel(SimulatedDriver):
    """A light for flat fields."""

    def __init__(self, send: Send) -> None:
        super().__init__("Light Panel Simulator", send)
        light = {"FLAT_LIGHT_ON": False, "FLAT_LIGHT_OFF": True}
        self.switch("FLAT_LIGHT_CONTROL", light)
        intensity = SimulatedNumber(0.0, "%.f", 0.0, 255.0, 10.0)
        intensities = {"FLAT_LIGHT_INTENSITY_VALUE": intensity}
        self.number("FLAT_LIGHT_INTENSITY", intensities, timeout=0.0)


class SimulatedGps(SimulatedDriver):
    """A receiver that knows where it is."""

    def __init__(self, send: Send) -> None:
        super().__init__("GPS Simulator", send)
        fields = AT_MOST_ONE | {"timeout": 0.0}
        self.switch("GPS_REFRESH", {"REFRESH": False}, self._refresh, **fields)
        place = {
            "LAT": SimulatedNumber(51.0, "%010.6m", -90.0, 90.0, 0.0),
            "LONG": SimulatedNumber(357.7, "%010.6m", 0.0, 360.0, 0.0),
            "ELEV": SimulatedNumber(72.0, "%g", -200.0, 10000.0, 0.0),
        }
        self.number("GEOGRAPHIC_COORD", place, perm="ro", state="Ok")

    def _refresh(self, wanted: SimulatedVector, values: Values) -> None:
        self._send(wanted.update("Ok", REFRESH="Off"))
        self.show("GEOGRAPHIC_COORD", "Ok")
