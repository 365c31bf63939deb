"""Simulated telescope mount; it says what indi_simulator_telescope says.

Source: docs/protocols/indi.md, 10; tests/traces/indi/mount-*.
"""

import math
from collections.abc import Mapping

from busbar.codecs import indi
from indi_bridge.simulator.driver import (
    AT_MOST_ONE,
    STEP,
    Send,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)

Values = Mapping[str, str]

COORDINATES = "EQUATORIAL_EOD_COORD"
PARKED_DEC = 0.0  # degrees
PARKED_RA = 15.6  # h; a real one parks at an hour angle
RA_STRIDE = 0.4 * STEP  # h on its way
DEC_STRIDE = 6.0 * STEP  # degrees on its way
MOTION_STRIDE = 2.5 * STEP  # degrees
SKY = 1.00274 * STEP / 3600  # h that a mount without tracking falls behind
GUIDE_RATE = 15.0 * 0.5 / 3600 / 1000  # degrees in a ms
_PARKED = "[WARNING] Please unpark the mount before issuing any motion/sync commands."
_AXES = ("NS", "WE")
_MOTIONS = {
    "MOTION_NORTH": (0.0, 1.0),
    "MOTION_SOUTH": (0.0, -1.0),
    "MOTION_WEST": (-1.0, 0.0),
    "MOTION_EAST": (1.0, 0.0),
}


class SimulatedMount(SimulatedDriver):
    """A telescope mount: six degrees a second, and a look at itself each 0.25 s."""

    online = "[INFO] Telescope simulator is online."
    offline = "[INFO] Telescope simulator is offline."

    def __init__(self, send: Send) -> None:
        super().__init__("Telescope Simulator", send)
        self._target: tuple[float, float] | None = None
        self._parking = False  # on its way to the target
        self._tracking = False  # unless it is on its way
        self._refused = False  # TRACK_STATE is to be said again
        self._pulses: dict[str, float] = {}  # vector -> s that are left
        modes = {"TRACK": True, "SLEW": False, "SYNC": False}
        self.switch("ON_COORD_SET", modes, timeout=60.0)
        coordinates = {
            "RA": SimulatedNumber(3.0, "%010.6m", 0.0, 24.0, 0.0),
            "DEC": SimulatedNumber(45.0, "%010.6m", -90.0, 90.0, 0.0),
        }
        self.number(COORDINATES, coordinates, self._goto)
        abort = {"ABORT": False}
        self.switch("TELESCOPE_ABORT_MOTION", abort, self._abort, **AT_MOST_ONE)
        tracking = {"TRACK_ON": False, "TRACK_OFF": True}
        self.switch("TELESCOPE_TRACK_STATE", tracking, self._track)
        parking = {"PARK": False, "UNPARK": True}
        self.switch("TELESCOPE_PARK", parking, self._park, timeout=60.0)
        self._define_motions()
        rates = {"1x": False, "2x": False, "3x": False, "4x": True}
        self.switch("TELESCOPE_SLEW_RATE", rates)
        place = {
            "LAT": SimulatedNumber(51.0, "%012.8m", -90.0, 90.0, 0.0),
            "LONG": SimulatedNumber(0.0, "%012.8m", 0.0, 360.0, 0.0),
            "ELEV": SimulatedNumber(0.0, "%g", -200.0, 10000.0, 0.0),
        }
        self.number("GEOGRAPHIC_COORD", place, self._place)

    def on_connected(self) -> None:
        self.say("[INFO] update mount and pier side: Pier Side On, mount type 2")
        self.say(
            "[INFO] InitPark: No Park data in file /home/indi/.indi/ParkData.xml: "
            "No such file or directory"
        )
        self.say("[INFO] Mount is unparked.")
        self.show("TELESCOPE_PARK", "Ok")
        self.after("look", STEP, self._look)

    def _define_motions(self) -> None:
        for axis, first, second in (
            ("NS", "NORTH", "SOUTH"),
            ("WE", "WEST", "EAST"),
        ):
            motion = {f"MOTION_{first}": False, f"MOTION_{second}": False}
            name = f"TELESCOPE_MOTION_{axis}"
            self.switch(name, motion, self._move_axis, **AT_MOST_ONE)
            pulse = SimulatedNumber(0.0, "%.f", 0.0, 60000.0, 100.0)
            members = (f"TIMED_GUIDE_{first[0]}", f"TIMED_GUIDE_{second[0]}")
            name = f"TELESCOPE_TIMED_GUIDE_{axis}"
            self.number(name, dict.fromkeys(members, pulse), self._guide)

    @property
    def _parked(self) -> bool:
        park = self.vectors["TELESCOPE_PARK"]
        return park.values["PARK"] == "On" and park.state != "Busy"

    # What is asked for.

    def _goto(self, wanted: SimulatedVector, values: Values) -> None:
        target = {**wanted.values, **values}
        ra = indi.parse_number(target["RA"])
        dec = indi.parse_number(target["DEC"])
        if self._parked:
            self.say(_PARKED)
            self._send(wanted.update("Idle"))
        elif self.vectors["ON_COORD_SET"].values["SYNC"] == "On":
            self.say("[INFO] Sync is successful.")
            self._send(wanted.update("Idle", RA=repr(ra), DEC=repr(dec)))
            self._send(wanted.update("Ok"))
        else:
            self.say(f"[INFO] Slewing to RA: {_shown(ra)} - DEC: {_shown(dec)}")
            self._send(wanted.update("Busy"))
            self._target = (ra, dec)
            self._parking = False

    def _park(self, wanted: SimulatedVector, values: Values) -> None:
        park = values.get("PARK") == "On"
        if park and self._parked:
            self._send_said(wanted, "Idle", "[INFO] Telescope already parked.")
        elif not park and wanted.values["UNPARK"] == "On":
            self._send_said(wanted, "Idle", "[INFO] Telescope already unparked.")
        elif park:
            ra, dec = _shown(PARKED_RA), _shown(PARKED_DEC)
            wanted.take(values)
            self._send_said(wanted, "Busy", f"[INFO] Parking to RA: {ra} - DEC: {dec}")
            self._target = (PARKED_RA, PARKED_DEC)
            self._parking = True
        else:
            wanted.take(values)
            self._target = None
            self._send_said(wanted, "Ok", "[INFO] Mount is unparked.")
            self._send(wanted.update("Ok"))

    def _track(self, wanted: SimulatedVector, values: Values) -> None:
        if self._parked:
            self.say("[WARNING] Telescope is Parked, Unpark before tracking.")
            self._refused = True
            return
        self._tracking = values.get("TRACK_ON") == "On"
        wanted.take(values)
        self._send(wanted.update("Busy" if self._tracking else "Idle"))

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        if self._target is not None:
            self.show(COORDINATES, "Idle")
        if self._parking:
            self.say("[INFO] Parking/Unparking aborted.")
            self.show("TELESCOPE_PARK", "Alert", PARK="Off", UNPARK="Off")
        self._target = None
        self._parking = False
        self.say("[INFO] Slew/Track aborted.")
        self._send(wanted.update("Ok", ABORT="Off"))

    def _move_axis(self, wanted: SimulatedVector, values: Values) -> None:
        if self._parked:
            self._send_said(wanted, "Idle", _PARKED)
            return
        wanted.values = dict.fromkeys(wanted.values, "Off")
        wanted.take(values)
        moving = "On" in wanted.values.values()
        self._send(wanted.update("Busy" if moving else "Idle"))

    def _guide(self, wanted: SimulatedVector, values: Values) -> None:
        self._send(wanted.update("Busy", **values))
        name = wanted.definition.name
        self._pulses[name] = max(map(wanted.number, wanted.values)) / 1000

    def _place(self, wanted: SimulatedVector, values: Values) -> None:
        self._send(wanted.update("Ok", **values))
        self.say_saved()
        lat, long = (wanted.number(each) for each in ("LAT", "LONG"))
        self.say(
            f"[INFO] Observer location updated: Latitude {_shown(lat)} ({lat:.2f}) "
            f"Longitude {_shown(long)} ({long:.2f})"
        )

    # What it does by itself.

    def _look(self) -> None:
        """Go on with whatever is under way, and say where it is."""
        self.after("look", STEP, self._look)
        self._guide_on()
        arrived = self._go_on()
        if arrived and self._parking:
            self._on_parked()
        elif arrived:
            self._tracking = True
            self.say("[INFO] Telescope slew is complete. Tracking...")
        self._say_tracking()
        self._say_position()

    def _go_on(self) -> bool:
        """Move; return whether it has arrived."""
        here = self.vectors[COORDINATES]
        ra, dec = here.number("RA"), here.number("DEC")
        if self._target is None:
            self._move_by_hand(ra, dec)
            return False
        ra = _nearer(ra, self._target[0], RA_STRIDE)
        dec = _nearer(dec, self._target[1], DEC_STRIDE)
        here.values.update(RA=repr(ra), DEC=repr(dec))
        if (ra, dec) != self._target:
            return False
        self._target = None
        return True

    def _move_by_hand(self, ra: float, dec: float) -> None:
        if not self._tracking:
            ra = (ra + SKY) % 24
        for axis in _AXES:
            for name, value in self.vectors[f"TELESCOPE_MOTION_{axis}"].values.items():
                if value == "On":
                    east, north = _MOTIONS[name]
                    ra = (ra + east * MOTION_STRIDE / 15) % 24
                    dec = min(90.0, max(-90.0, dec + north * MOTION_STRIDE))
        self.vectors[COORDINATES].values.update(RA=repr(ra), DEC=repr(dec))

    def _guide_on(self) -> None:
        """Go on with pulses; one that is over is told with the next look."""
        for name, left in list(self._pulses.items()):
            if left > 0:
                self._pulses[name] = left - STEP
                continue
            del self._pulses[name]
            zeros = dict.fromkeys(self.vectors[name].values, "0")
            self.show(name, "Idle", **zeros)

    def _on_parked(self) -> None:
        self._parking = False
        self._tracking = False
        self.say("[INFO] Mount is parked.")
        self.show("TELESCOPE_PARK", "Ok")
        self.say("[INFO] Telescope slew is complete. Parked")

    def _say_tracking(self) -> None:
        vector = self.vectors["TELESCOPE_TRACK_STATE"]
        on = self._tracking and self._target is None
        if on != (vector.values["TRACK_ON"] == "On") or self._refused:
            vector.take({"TRACK_ON" if on else "TRACK_OFF": "On"})
            self._send(vector.update("Busy" if on else "Idle"))
        self._refused = False

    def _say_position(self) -> None:
        here = self.vectors[COORDINATES]
        state = "Ok" if self._tracking else "Idle"
        if self._target is not None:
            state = "Busy"
        if (state, here.values) != here.said:
            self._send(here.update(state))

    def _send_said(self, vector: SimulatedVector, state: str, text: str) -> None:
        self.say(text)
        self._send(vector.update(state))


def _nearer(here: float, target: float, stride: float) -> float:
    left = target - here
    return target if abs(left) <= stride else here + math.copysign(stride, left)


def _shown(value: float) -> str:
    return indi.format_number(value, "%8.6m")
