"""Devices of the simulated observatory."""

from collections.abc import Mapping
from random import Random

from busbar.codecs import indi
from busbar.codecs.indi import DefMember, NewBlob
from indi_bridge.simulator.driver import (
    STEP,
    Send,
    SendBlob,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)
from indi_bridge.simulator.star_field import star_field

Values = Mapping[str, str]

SHORTEST = 0.01  # s of an exposure
LONGEST = 3600.0  # s of an exposure
STARS = 60  # of an image
FARTHEST = 100000.0  # steps of the focuser
STORM = 20.0  # wind from which on it is an Alert


class SimulatedMount(SimulatedDriver):
    """A telescope mount: five degrees a second."""

    def __init__(self, send: Send) -> None:
        super().__init__("Telescope Simulator", send)
        self.switch("ON_COORD_SET", {"TRACK": True, "SLEW": False, "SYNC": False})
        coordinates = {
            "RA": SimulatedNumber(6.0, "%010.6m", 0.0, 24.0, 0.0),
            "DEC": SimulatedNumber(45.0, "%010.6m", -90.0, 90.0, 0.0),
        }
        self.number("EQUATORIAL_EOD_COORD", coordinates, self._goto)
        abort = {"ABORT": False}
        self.switch("TELESCOPE_ABORT_MOTION", abort, self._abort, rule="AtMostOne")
        parking = {"PARK": False, "UNPARK": True}
        self.switch("TELESCOPE_PARK", parking, self._park)

    def _goto(self, wanted: SimulatedVector, values: Values) -> None:
        target = {**wanted.values, **values}
        ra = indi.parse_number(target["RA"])
        dec = indi.parse_number(target["DEC"])
        if self.vectors["TELESCOPE_PARK"].values["PARK"] == "On":
            self.say(
                "[ERROR] Please unpark the mount before issuing any motion commands."
            )
            self._send(wanted.update("Alert"))
        elif self.vectors["ON_COORD_SET"].values["SYNC"] == "On":
            self._send(wanted.update("Ok", RA=repr(ra), DEC=repr(dec)))
        else:
            shown = [indi.format_number(each, "%.6m") for each in (ra, dec)]
            self.say(f"[INFO] Slewing to RA: {shown[0]} - DEC: {shown[1]}")
            wanted.values["RA"] = repr(ra)
            self.move(wanted.definition.name, "DEC", dec, 5.0)

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("EQUATORIAL_EOD_COORD")
        self.show("EQUATORIAL_EOD_COORD", "Idle")
        self._send(wanted.update("Ok", ABORT="Off"))

    def _park(self, wanted: SimulatedVector, values: Values) -> None:
        park = values.get("PARK") == "On"
        if not park and wanted.values["UNPARK"] == "On":
            self._send(wanted.update("Idle", "[INFO] Telescope already unparked."))
            return
        wanted.take(values)
        if not park:
            self._send(wanted.update("Ok"))
            return
        self._send(wanted.update("Busy"))

        def on_end() -> None:
            self._send(wanted.update("Ok"))

        self.move("EQUATORIAL_EOD_COORD", "DEC", 90.0, 30.0, on_end)


class SimulatedCamera(SimulatedDriver):
    """A camera that sees stars."""

    def __init__(self, send: Send, send_blob: SendBlob) -> None:
        super().__init__("CCD Simulator", send)
        self._send_blob = send_blob
        self._random = Random(1)
        self._seconds = 1.0
        exposure = SimulatedNumber(1.0, "%5.2f", SHORTEST, LONGEST, 1.0)
        self.number("CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": exposure}, self._expose)
        abort = {"ABORT": False}
        self.switch("CCD_ABORT_EXPOSURE", abort, self._abort, rule="AtMostOne")
        temperature = SimulatedNumber(15.0, "%5.2f", -50.0, 50.0, 0.0)
        temperatures = {"CCD_TEMPERATURE_VALUE": temperature}
        self.number("CCD_TEMPERATURE", temperatures, self._cool)
        frames = {
            "FRAME_LIGHT": True,
            "FRAME_BIAS": False,
            "FRAME_DARK": False,
            "FRAME_FLAT": False,
        }
        self.switch("CCD_FRAME_TYPE", frames)
        self.define(
            "BLOB",
            "CCD1",
            [DefMember("CCD1", "Image")],
            label="Image Data",
            group="Image Info",
            perm="ro",
        )

    def _expose(self, wanted: SimulatedVector, values: Values) -> None:
        seconds = indi.parse_number(values["CCD_EXPOSURE_VALUE"])
        if not SHORTEST <= seconds <= LONGEST:
            self._send(wanted.update("Alert"))
            text = (
                f"[ERROR] Requested exposure value ({seconds:g}) seconds out of bounds "
                f"[{SHORTEST:g},{LONGEST:g}]."
            )
            self.after("text", 0.04, lambda: self.say(text))
            return
        self._seconds = seconds
        self._count_down(seconds)

    def _count_down(self, left: float) -> None:
        if left <= 0:
            self._read_out()
            return
        self.show("CCD_EXPOSURE", "Busy", CCD_EXPOSURE_VALUE=repr(left))
        step = min(STEP, left)
        self.after("CCD_EXPOSURE", step, lambda: self._count_down(left - step))

    def _read_out(self) -> None:
        light = self.vectors["CCD_FRAME_TYPE"].values["FRAME_LIGHT"] == "On"
        frame = star_field(self._random, self._seconds, STARS if light else 0)
        image = NewBlob(frame, ".fits", len(frame))
        self._send_blob(self.vectors["CCD1"].update("Ok"), {"CCD1": image})
        self.show("CCD_EXPOSURE", "Ok", CCD_EXPOSURE_VALUE="0")

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("CCD_EXPOSURE")
        self.show("CCD_EXPOSURE", "Idle", CCD_EXPOSURE_VALUE="0")
        self._send(wanted.update("Ok", ABORT="Off"))

    def _cool(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["CCD_TEMPERATURE_VALUE"])
        self.move("CCD_TEMPERATURE", "CCD_TEMPERATURE_VALUE", target, 5.0)


class SimulatedFocuser(SimulatedDriver):
    """A focuser of 100 000 steps, 20 000 a second."""

    def __init__(self, send: Send) -> None:
        super().__init__("Focuser Simulator", send)
        position = SimulatedNumber(50000.0, "%.f", 0.0, FARTHEST, 1000.0)
        positions = {"FOCUS_ABSOLUTE_POSITION": position}
        self.number("ABS_FOCUS_POSITION", positions, self._absolute)
        steps = SimulatedNumber(0.0, "%.f", 0.0, 50000.0, 1000.0)
        relative = {"FOCUS_RELATIVE_POSITION": steps}
        self.number("REL_FOCUS_POSITION", relative, self._relative)
        directions = {"FOCUS_INWARD": True, "FOCUS_OUTWARD": False}
        self.switch("FOCUS_MOTION", directions)
        abort = {"ABORT": False}
        self.switch("FOCUS_ABORT_MOTION", abort, self._abort, rule="AtMostOne")

    def _absolute(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["FOCUS_ABSOLUTE_POSITION"])
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


class SimulatedFilterWheel(SimulatedDriver):
    """A filter wheel of five."""

    def __init__(self, send: Send) -> None:
        super().__init__("Filter Simulator", send)
        slot = SimulatedNumber(1.0, "%3.0f", 1.0, 5.0, 1.0)
        self.number("FILTER_SLOT", {"FILTER_SLOT_VALUE": slot}, self._turn)
        names = ("Red", "Green", "Blue", "H_Alpha", "Luminance")
        filters = {}
        for number, name in enumerate(names, 1):
            filters[f"FILTER_SLOT_NAME_{number}"] = name
        self.text("FILTER_NAME", filters)

    def _turn(self, wanted: SimulatedVector, values: Values) -> None:
        slot = values["FILTER_SLOT_VALUE"]
        self._send(wanted.update("Busy"))

        def on_end() -> None:
            self._send(wanted.update("Ok", FILTER_SLOT_VALUE=slot))

        self.after("turn", 0.5, on_end)


class SimulatedDome(SimulatedDriver):
    """A dome with a shutter: 60 degrees a second."""

    def __init__(self, send: Send) -> None:
        super().__init__("Dome Simulator", send)
        azimuth = SimulatedNumber(0.0, "%6.2f", 0.0, 360.0, 1.0)
        positions = {"DOME_ABSOLUTE_POSITION": azimuth}
        self.number("ABS_DOME_POSITION", positions, self._turn)
        shutter = {"SHUTTER_OPEN": False, "SHUTTER_CLOSE": True}
        self.switch("DOME_SHUTTER", shutter, self._shutter)
        self.switch("DOME_PARK", {"PARK": False, "UNPARK": True})
        abort = {"ABORT": False}
        self.switch("DOME_ABORT_MOTION", abort, self._abort, rule="AtMostOne")

    def _turn(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["DOME_ABSOLUTE_POSITION"])
        self.move("ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION", target, 60.0)

    def _shutter(self, wanted: SimulatedVector, values: Values) -> None:
        wanted.take(values)
        self._send(wanted.update("Busy"))

        def on_end() -> None:
            self._send(wanted.update("Ok"))

        self.after("shutter", 1.0, on_end)

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("ABS_DOME_POSITION")
        self.show("ABS_DOME_POSITION", "Idle")
        self._send(wanted.update("Ok", ABORT="Off"))


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
