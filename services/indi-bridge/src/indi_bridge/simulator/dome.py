"""Simulated dome; it says what indi_simulator_dome says.

Source: docs/protocols/indi.md, 10; tests/traces/indi/dome-*.
"""

from collections.abc import Callable, Mapping

from busbar.codecs import indi
from indi_bridge.simulator.driver import (
    AT_MOST_ONE,
    Send,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)

Values = Mapping[str, str]

LOOK = 0.5  # s between looks at the azimuth
STRIDE = 10.0  # degrees between them
SHUTTER = 6.0  # s that the shutter takes
PARKED = 90.0  # degrees of azimuth
POSITION = "ABS_DOME_POSITION"


class SimulatedDome(SimulatedDriver):
    """A dome with a shutter, which opens and closes when the dome is (un)parked."""

    def __init__(self, send: Send) -> None:
        super().__init__("Dome Simulator", send)
        azimuth = SimulatedNumber(0.0, "%6.2f", 0.0, 360.0, 1.0)
        self.number(POSITION, {"DOME_ABSOLUTE_POSITION": azimuth}, self._turn)
        motions = {"DOME_CW": False, "DOME_CCW": False}
        self.switch("DOME_MOTION", motions, **AT_MOST_ONE)
        shutter = {"SHUTTER_OPEN": False, "SHUTTER_CLOSE": True}
        self.switch("DOME_SHUTTER", shutter, self._shutter, **AT_MOST_ONE)
        parking = {"PARK": False, "UNPARK": True}
        self.switch("DOME_PARK", parking, self._park, timeout=60.0)
        abort = {"ABORT": False}
        self.switch("DOME_ABORT_MOTION", abort, self._abort, **AT_MOST_ONE)

    def _turn(self, wanted: SimulatedVector, values: Values) -> None:
        if self.vectors["DOME_PARK"].values["PARK"] == "On":
            self.say("[ERROR] Please unpark before issuing any motion commands.")
            self._send(wanted.update("Alert"))
            return
        target = indi.parse_number(values["DOME_ABSOLUTE_POSITION"])
        self.say(f"[INFO] Dome is moving to position {target:.2f} degrees azimuth...")
        self._send(wanted.update("Busy"))
        way = (target - wanted.number("DOME_ABSOLUTE_POSITION")) % 360
        side = "DOME_CW" if way < 180 else "DOME_CCW"
        motion = self.vectors["DOME_MOTION"]
        motion.take({side: "On"})
        self._send(motion.update("Busy"))
        self.after("azimuth", LOOK, lambda: self._turn_on(target, self._on_there))

    def _turn_on(self, target: float, on_end: Callable[[], None]) -> None:
        """Go on to an azimuth, and tell when it is reached."""
        vector = self.vectors[POSITION]
        here = vector.number("DOME_ABSOLUTE_POSITION")
        way = (target - here + 180) % 360 - 180
        if abs(way) <= STRIDE:
            vector.values["DOME_ABSOLUTE_POSITION"] = repr(target)
            self.say("[INFO] Dome reached requested azimuth angle.")
            on_end()
            return
        here = (here + (STRIDE if way > 0 else -STRIDE)) % 360
        vector.values["DOME_ABSOLUTE_POSITION"] = repr(here)
        if vector.state == "Busy":
            self._send(vector.update("Busy"))
        self.after("azimuth", LOOK, lambda: self._turn_on(target, on_end))

    def _on_there(self) -> None:
        self._stand("Ok")
        self.show(POSITION, "Ok")
        self.show(POSITION, "Ok")

    def _stand(self, state: str) -> None:
        self.show("DOME_MOTION", state, DOME_CW="Off", DOME_CCW="Off")

    def _shutter(self, wanted: SimulatedVector, values: Values) -> None:
        open_ = values.get("SHUTTER_OPEN") == "On"
        self._start_shutter(open_)
        self.after("shutter", SHUTTER, lambda: self._on_shutter(open_))

    def _start_shutter(self, open_: bool) -> None:
        shutter = self.vectors["DOME_SHUTTER"]
        shutter.take({"SHUTTER_OPEN" if open_ else "SHUTTER_CLOSE": "On"})
        words = "opening" if open_ else "closing"
        self._send(shutter.update("Busy", f"Shutter is {words}..."))
        self._send(shutter.update("Busy"))

    def _on_shutter(self, open_: bool) -> None:
        self.say(f"[INFO] Shutter is {'open' if open_ else 'closed'}.")
        self.show("DOME_SHUTTER", "Ok")

    def _park(self, wanted: SimulatedVector, values: Values) -> None:
        park = values.get("PARK") == "On"
        if park == (wanted.values["PARK"] == "On") and wanted.state != "Busy":
            self.say(f"[INFO] Dome already {'parked' if park else 'unparked'}.")
            self._send(wanted.update("Ok"))
            return
        wanted.take(values)
        self._start_shutter(not park)
        if not park:
            self._send(wanted.update("Busy"))
            self.after("shutter", SHUTTER, self._on_unparked)
            return
        self.after("shutter", SHUTTER, lambda: self._on_shutter(False))
        self.say(
            "[WARNING] Please stop dome before issuing any further motion commands."
        )
        self._send(wanted.update("Busy"))
        self.after("azimuth", LOOK, lambda: self._turn_on(PARKED, self._on_parked))

    def _on_parked(self) -> None:
        self._stand("Idle")
        self.show(POSITION, "Idle")
        self.show("DOME_PARK", "Ok")
        self.say("[INFO] Dome is parked.")
        self.show(POSITION, "Idle")

    def _on_unparked(self) -> None:
        self._on_shutter(True)
        self.show("DOME_PARK", "Ok")
        self.say("[INFO] Dome is unparked.")

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("azimuth")
        self._stand("Idle")
        self.show(POSITION, "Idle")
        self._send(wanted.update("Ok", ABORT="Off"))
