"""The devices of the simulated observatory.

What they define, and what they do when they are set.
"""

from collections.abc import Mapping
from random import Random

from busbar.codecs import indi
from busbar.codecs.indi import DefMember, DefVector, NewBlob
from indi_bridge.simulator.driver import STEP, Driver, Property, Tell, TellBlob
from indi_bridge.simulator.star_field import star_field


class Mount(Driver):
    """A telescope mount: five degrees a second."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("Telescope Simulator", tell)
        self.switch(
            "ON_COORD_SET", {"TRACK": True, "SLEW": False, "SYNC": False}, later=True
        )
        coordinates = {
            "RA": (6.0, "%010.6m", 0.0, 24.0, 0.0),
            "DEC": (45.0, "%010.6m", -90.0, 90.0, 0.0),
        }
        self.number("EQUATORIAL_EOD_COORD", coordinates, self._goto, later=True)
        self.switch(
            "TELESCOPE_ABORT_MOTION",
            {"ABORT": False},
            self._abort,
            rule="AtMostOne",
            later=True,
        )
        self.switch(
            "TELESCOPE_PARK", {"PARK": False, "UNPARK": True}, self._park, later=True
        )

    def _goto(self, wanted: Property, values: Mapping[str, str]) -> None:
        ra, dec = (
            indi.parse_number(values.get(name, wanted.values[name]))
            for name in ("RA", "DEC")
        )
        if self.properties["TELESCOPE_PARK"].values["PARK"] == "On":
            self.say(
                "[ERROR] Please unpark the mount before issuing any motion commands."
            )
            self._tell(wanted.news("Alert"))
        elif self.properties["ON_COORD_SET"].values["SYNC"] == "On":
            self._tell(wanted.news("Ok", RA=repr(ra), DEC=repr(dec)))
        else:
            self.say(
                f"[INFO] Slewing to RA: {indi.format_number(ra, '%.6m')} - DEC: "
                f"{indi.format_number(dec, '%.6m')}"
            )
            wanted.values["RA"] = repr(ra)
            self.move(wanted.definition.name, "DEC", dec, 5.0)

    def _abort(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.stop("EQUATORIAL_EOD_COORD")
        self.show("EQUATORIAL_EOD_COORD", "Idle")
        self._tell(wanted.news("Ok", ABORT="Off"))

    def _park(self, wanted: Property, values: Mapping[str, str]) -> None:
        park = values.get("PARK") == "On"
        if not park and wanted.values["UNPARK"] == "On":
            self._tell(wanted.news("Idle", "[INFO] Telescope already unparked."))
            return
        wanted.choose(values)
        if not park:
            self._tell(wanted.news("Ok"))
            return
        self._tell(wanted.news("Busy"))
        self.move(
            "EQUATORIAL_EOD_COORD",
            "DEC",
            90.0,
            30.0,
            lambda: self._tell(wanted.news("Ok")),
        )


class Camera(Driver):
    """A camera that sees stars."""

    def __init__(self, tell: Tell, tell_blob: TellBlob) -> None:
        super().__init__("CCD Simulator", tell)
        self._tell_blob, self._random, self._seconds = tell_blob, Random(1), 1.0
        exposure = {"CCD_EXPOSURE_VALUE": (1.0, "%5.2f", 0.01, 3600.0, 1.0)}
        self.number("CCD_EXPOSURE", exposure, self._expose, later=True)
        self.switch(
            "CCD_ABORT_EXPOSURE",
            {"ABORT": False},
            self._abort,
            rule="AtMostOne",
            later=True,
        )
        self.number(
            "CCD_TEMPERATURE",
            {"CCD_TEMPERATURE_VALUE": (15.0, "%5.2f", -50.0, 50.0, 0.0)},
            self._cool,
            later=True,
        )
        frames = dict.fromkeys(
            ("FRAME_LIGHT", "FRAME_BIAS", "FRAME_DARK", "FRAME_FLAT"), False
        )
        self.switch("CCD_FRAME_TYPE", frames | {"FRAME_LIGHT": True}, later=True)
        image = (DefMember("CCD1", "Image"),)
        self.other(
            DefVector(
                "BLOB", self.name, "CCD1", image, "Image Data", "Image Info", perm="ro"
            ),
            later=True,
        )

    def _expose(self, wanted: Property, values: Mapping[str, str]) -> None:
        seconds = indi.parse_number(values["CCD_EXPOSURE_VALUE"])
        if not 0.01 <= seconds <= 3600:
            self._tell(wanted.news("Alert"))
            text = (
                f"[ERROR] Requested exposure value ({seconds:g}) seconds out of bounds "
                f"[0.01,3600]."
            )
            self.after("text", 0.04, lambda: self.say(text))
            return
        self._seconds = seconds
        self._tell(wanted.news("Busy", CCD_EXPOSURE_VALUE=repr(seconds)))
        self.after(
            "CCD_EXPOSURE",
            min(STEP, seconds),
            lambda: self._go_on(seconds - min(STEP, seconds)),
        )

    def _go_on(self, left: float) -> None:
        if left > 0:
            self.show("CCD_EXPOSURE", "Busy", CCD_EXPOSURE_VALUE=repr(left))
            self.after(
                "CCD_EXPOSURE",
                min(STEP, left),
                lambda: self._go_on(left - min(STEP, left)),
            )
            return
        dark = self.properties["CCD_FRAME_TYPE"].values["FRAME_LIGHT"] != "On"
        frame = star_field(self._random, self._seconds, stars=0 if dark else 60)
        vector = self.properties["CCD1"].news("Ok")
        self._tell_blob(vector, {"CCD1": NewBlob(frame, ".fits", len(frame))})
        self.show("CCD_EXPOSURE", "Ok", CCD_EXPOSURE_VALUE="0")

    def _abort(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.stop("CCD_EXPOSURE")
        self.show("CCD_EXPOSURE", "Idle", CCD_EXPOSURE_VALUE="0")
        self._tell(wanted.news("Ok", ABORT="Off"))

    def _cool(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.move(
            "CCD_TEMPERATURE",
            "CCD_TEMPERATURE_VALUE",
            indi.parse_number(values["CCD_TEMPERATURE_VALUE"]),
            5.0,
        )


class Focuser(Driver):
    """A focuser of 100 000 steps."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("Focuser Simulator", tell)
        self.number(
            "ABS_FOCUS_POSITION",
            {"FOCUS_ABSOLUTE_POSITION": (50000.0, "%.f", 0.0, 100000.0, 1000.0)},
            self._absolute,
            later=True,
        )
        self.number(
            "REL_FOCUS_POSITION",
            {"FOCUS_RELATIVE_POSITION": (0.0, "%.f", 0.0, 50000.0, 1000.0)},
            self._relative,
            later=True,
        )
        self.switch(
            "FOCUS_MOTION", {"FOCUS_INWARD": True, "FOCUS_OUTWARD": False}, later=True
        )
        self.switch(
            "FOCUS_ABORT_MOTION",
            {"ABORT": False},
            self._abort,
            rule="AtMostOne",
            later=True,
        )

    def _absolute(self, wanted: Property, values: Mapping[str, str]) -> None:
        target = indi.parse_number(values["FOCUS_ABSOLUTE_POSITION"])
        self.move("ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION", target, 20000.0)

    def _relative(self, wanted: Property, values: Mapping[str, str]) -> None:
        steps = indi.parse_number(values["FOCUS_RELATIVE_POSITION"])
        inward = self.properties["FOCUS_MOTION"].values["FOCUS_INWARD"] == "On"
        here = self.properties["ABS_FOCUS_POSITION"].number("FOCUS_ABSOLUTE_POSITION")
        self._tell(wanted.news("Busy", FOCUS_RELATIVE_POSITION=repr(steps)))
        target = min(100000.0, max(0.0, here - steps if inward else here + steps))
        self.move(
            "ABS_FOCUS_POSITION",
            "FOCUS_ABSOLUTE_POSITION",
            target,
            20000.0,
            lambda: self._tell(wanted.news("Ok")),
        )

    def _abort(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.stop("ABS_FOCUS_POSITION")
        self.show("ABS_FOCUS_POSITION", "Idle")
        self._tell(wanted.news("Ok", ABORT="Off"))


class Wheel(Driver):
    """A filter wheel of five."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("Filter Simulator", tell)
        names = ("Red", "Green", "Blue", "H_Alpha", "Luminance")
        self.number(
            "FILTER_SLOT",
            {"FILTER_SLOT_VALUE": (1.0, "%3.0f", 1.0, 5.0, 1.0)},
            self._turn,
            later=True,
        )
        self.text(
            "FILTER_NAME",
            {f"FILTER_SLOT_NAME_{at}": name for at, name in enumerate(names, 1)},
            later=True,
        )

    def _turn(self, wanted: Property, values: Mapping[str, str]) -> None:
        slot = values["FILTER_SLOT_VALUE"]
        self._tell(wanted.news("Busy"))
        self.after(
            "turn", 0.5, lambda: self._tell(wanted.news("Ok", FILTER_SLOT_VALUE=slot))
        )


class Dome(Driver):
    """A dome with a shutter."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("Dome Simulator", tell)
        self.number(
            "ABS_DOME_POSITION",
            {"DOME_ABSOLUTE_POSITION": (0.0, "%6.2f", 0.0, 360.0, 1.0)},
            self._turn,
            later=True,
        )
        self.switch(
            "DOME_SHUTTER",
            {"SHUTTER_OPEN": False, "SHUTTER_CLOSE": True},
            self._shutter,
            later=True,
        )
        self.switch("DOME_PARK", {"PARK": False, "UNPARK": True}, later=True)
        self.switch(
            "DOME_ABORT_MOTION",
            {"ABORT": False},
            self._abort,
            rule="AtMostOne",
            later=True,
        )

    def _turn(self, wanted: Property, values: Mapping[str, str]) -> None:
        target = indi.parse_number(values["DOME_ABSOLUTE_POSITION"])
        self.move("ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION", target, 60.0)

    def _shutter(self, wanted: Property, values: Mapping[str, str]) -> None:
        wanted.choose(values)
        self._tell(wanted.news("Busy"))
        self.after("shutter", 1.0, lambda: self._tell(wanted.news("Ok")))

    def _abort(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.stop("ABS_DOME_POSITION")
        self.show("ABS_DOME_POSITION", "Idle")
        self._tell(wanted.news("Ok", ABORT="Off"))


class Weather(Driver):
    """A weather station; always connected."""

    def __init__(self, tell: Tell) -> None:
        super().__init__("Weather Simulator", tell, switched=False)
        self._random = Random(2)
        self.number("WEATHER_PARAMETERS", {
            "WEATHER_TEMPERATURE": (12.0, "%4.2f", -30.0, 50.0, 0.0),
            "WEATHER_WIND_SPEED": (5.0, "%4.2f", 0.0, 200.0, 0.0),
        }, perm="ro")  # fmt: skip
        lights = (
            DefMember("WEATHER_TEMPERATURE", "Temperature", "Ok"),
            DefMember("WEATHER_WIND_SPEED", "Wind", "Ok"),
        )
        self.other(
            DefVector(
                "Light",
                self.name,
                "WEATHER_STATUS",
                lights,
                "Status",
                "Main Control",
                "Ok",
                "ro",
            )
        )
        self._blow()

    def _blow(self) -> None:
        wind = max(
            0.0,
            self.properties["WEATHER_PARAMETERS"].number("WEATHER_WIND_SPEED")
            + self._random.gauss(0, 2),
        )
        self.show("WEATHER_PARAMETERS", "Ok", WEATHER_WIND_SPEED=f"{wind:.2f}")
        self.show(
            "WEATHER_STATUS",
            "Ok" if wind < 20 else "Alert",
            WEATHER_WIND_SPEED="Ok" if wind < 20 else "Alert",
        )
        self.after("wind", 2.0, self._blow)
