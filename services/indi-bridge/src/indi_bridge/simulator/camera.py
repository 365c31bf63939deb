"""Simulated camera; it says what indi_simulator_ccd says.

Source: docs/protocols/indi.md, 10; tests/traces/indi/ccd-*.
"""

from collections.abc import Mapping
from random import Random

from busbar.codecs import indi
from busbar.codecs.indi import DefMember, NewBlob
from indi_bridge.simulator.driver import (
    AT_MOST_ONE,
    STEP,
    Send,
    SendBlob,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)
from indi_bridge.simulator.star_field import HEIGHT, WIDTH, star_field

Values = Mapping[str, str]

SHORTEST = 0.01  # s of an exposure
LONGEST = 3600.0  # s of an exposure
STARS = 60  # of an image
DOWNLOAD = 0.03  # s from the end of an exposure to its image
FRAME = 0.1  # s of a frame of a video
COOLING = 0.5  # K that it cools or warms in one look
LOOK = 1.0  # s between looks at the temperature
SETTLING = 4  # looks at the wanted temperature until it is Ok
# with each exposure, and yet it is one
_STARLESS = (
    "[ERROR] Got no stars, is gsc installed with appropriate environment variables "
    "set ??"
)
_UPLOADS = {
    "UPLOAD_CLIENT": "client only",
    "UPLOAD_LOCAL": "local only",
    "UPLOAD_BOTH": "client and local",
}


class SimulatedCamera(SimulatedDriver):
    """A camera that sees stars."""

    def __init__(self, send: Send, send_blob: SendBlob) -> None:
        super().__init__("CCD Simulator", send)
        self._send_blob = send_blob
        self._random = Random(1)
        self._seconds = 1.0
        self._saved = 0  # images that are said to be in a file
        exposure = SimulatedNumber(1.0, "%5.2f", SHORTEST, LONGEST, 1.0)
        self.number("CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": exposure}, self._expose)
        abort = {"ABORT": False}
        self.switch("CCD_ABORT_EXPOSURE", abort, self._abort, **AT_MOST_ONE)
        self._define_cooler()
        self._define_frame()
        self._define_uploads()
        video = {"STREAM_ON": False, "STREAM_OFF": True}
        self.switch("CCD_VIDEO_STREAM", video, self._stream)
        for axis, first, second in (("NS", "N", "S"), ("WE", "W", "E")):
            pulse = SimulatedNumber(0.0, "%.f", 0.0, 60000.0, 100.0)
            members = (f"TIMED_GUIDE_{first}", f"TIMED_GUIDE_{second}")
            self.number(f"TELESCOPE_TIMED_GUIDE_{axis}", dict.fromkeys(members, pulse))
        self.define(
            "BLOB",
            "CCD1",
            [DefMember("CCD1", "Image")],
            label="Image Data",
            group="Image Info",
            perm="ro",
        )

    def _define_cooler(self) -> None:
        temperature = SimulatedNumber(0.0, "%5.2f", -50.0, 50.0, 0.0)
        temperatures = {"CCD_TEMPERATURE_VALUE": temperature}
        self.number("CCD_TEMPERATURE", temperatures, self._cool)
        ramp = {
            "RAMP_SLOPE": SimulatedNumber(0.0, "%.f", 0.0, 30.0, 1.0),
            "RAMP_THRESHOLD": SimulatedNumber(0.5, "%.1f", 0.1, 2.0, 0.1),
        }
        self.number("CCD_TEMP_RAMP", ramp, self._ramp)
        cooler = {"COOLER_ON": False, "COOLER_OFF": True}
        # so it is: its state is told all the same
        self.switch("CCD_COOLER", cooler, self._cooler, perm="wo")

    def _define_frame(self) -> None:
        frame = {
            "X": SimulatedNumber(0.0, "%4.0f", 0.0, WIDTH - 1.0, 0.0),
            "Y": SimulatedNumber(0.0, "%4.0f", 0.0, HEIGHT - 1.0, 0.0),
            "WIDTH": SimulatedNumber(WIDTH, "%4.0f", 1.0, WIDTH, 0.0),
            "HEIGHT": SimulatedNumber(HEIGHT, "%4.0f", 1.0, HEIGHT, 0.0),
        }
        self.number("CCD_FRAME", frame, self._take_twice)
        binning = SimulatedNumber(1.0, "%2.0f", 1.0, 4.0, 1.0)
        binnings = dict.fromkeys(("HOR_BIN", "VER_BIN"), binning)
        self.number("CCD_BINNING", binnings, self._take_twice)
        frames = {
            "FRAME_LIGHT": True,
            "FRAME_BIAS": False,
            "FRAME_DARK": False,
            "FRAME_FLAT": False,
        }
        self.switch("CCD_FRAME_TYPE", frames, timeout=60.0)

    def _define_uploads(self) -> None:
        modes = dict.fromkeys(_UPLOADS, False) | {"UPLOAD_CLIENT": True}
        self.switch("UPLOAD_MODE", modes, self._upload)
        settings = {"UPLOAD_DIR": "/home/indi", "UPLOAD_PREFIX": "IMAGE_XXX"}
        self.text("UPLOAD_SETTINGS", settings, timeout=60.0)
        self.text("CCD_FILE_PATH", {"FILE_PATH": ""}, perm="ro", timeout=60.0)

    # Exposures.

    def _expose(self, wanted: SimulatedVector, values: Values) -> None:
        seconds = indi.parse_number(values["CCD_EXPOSURE_VALUE"])
        if not SHORTEST <= seconds <= LONGEST:
            self.say(
                f"[ERROR] Requested exposure value ({seconds:g}) seconds out of bounds "
                f"[{SHORTEST:g},{LONGEST:g}]."
            )
            self._send(wanted.update("Alert"))
            return
        self.say(_STARLESS)
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
        """End an exposure; its image comes a little later, on another connection."""
        self.say("[WARNING] Telescope focal length is missing.")
        self.say("[WARNING] Telescope aperture is missing.")
        if not self._is_on("UPLOAD_MODE", "UPLOAD_CLIENT"):
            self._say_saved_image()
        if not self._is_on("UPLOAD_MODE", "UPLOAD_LOCAL"):
            image = self._image()
            self.after("image", DOWNLOAD, lambda: self._send_image(image))
        self.show("CCD_EXPOSURE", "Ok", CCD_EXPOSURE_VALUE="0")

    def _image(self) -> bytes:
        frame, binning = self.vectors["CCD_FRAME"], self.vectors["CCD_BINNING"]
        width = int(frame.number("WIDTH") // binning.number("HOR_BIN"))
        height = int(frame.number("HEIGHT") // binning.number("VER_BIN"))
        stars = STARS if self._is_on("CCD_FRAME_TYPE", "FRAME_LIGHT") else 0
        return star_field(self._random, self._seconds, stars, (width, height))

    def _send_image(self, frame: bytes, format_: str = ".fits") -> None:
        image = NewBlob(frame, format_, len(frame))
        self._send_blob(self.vectors["CCD1"].update("Ok"), {"CCD1": image})

    def _say_saved_image(self) -> None:
        """Say which file has the image; nothing is written."""
        self._saved += 1
        path = f"/home/indi/IMAGE_{self._saved:03}.fits"
        self.say(f"[INFO] Image saved to {path}")
        self.show("CCD_FILE_PATH", "Ok", FILE_PATH=path)

    def _abort(self, wanted: SimulatedVector, values: Values) -> None:
        self.stop("CCD_EXPOSURE")
        self._send(wanted.update("Ok", ABORT="Off"))
        self.show("CCD_EXPOSURE", "Idle", CCD_EXPOSURE_VALUE="0")

    def _upload(self, wanted: SimulatedVector, values: Values) -> None:
        wanted.take(values)
        for mode, words in _UPLOADS.items():
            if wanted.values[mode] == "On":
                self.say(f"[INFO] Upload settings set to {words}.")
        self._send(wanted.update("Ok"))

    def _take_twice(self, wanted: SimulatedVector, values: Values) -> None:
        """Say Idle, then Ok."""
        self._send(wanted.update("Idle", **values))
        self._send(wanted.update("Ok"))

    # Video.

    def _stream(self, wanted: SimulatedVector, values: Values) -> None:
        wanted.take(values)
        if not self._is_on("CCD_VIDEO_STREAM", "STREAM_ON"):
            self.stop("frame")
            self._send(wanted.update("Idle"))
            return
        self.say(
            "[INFO] Starting the video stream with target exposure 0.100000 s (Max "
            "theoritical FPS 10)"
        )
        self._send(wanted.update("Busy"))
        self._next_frame()

    def _next_frame(self) -> None:
        self.say(_STARLESS)
        self._send_image(self._random.randbytes(WIDTH * HEIGHT), ".stream")
        self.after("frame", FRAME, self._next_frame)

    # Temperature.

    def _cool(self, wanted: SimulatedVector, values: Values) -> None:
        target = indi.parse_number(values["CCD_TEMPERATURE_VALUE"])
        cooler = self.vectors["CCD_COOLER"]
        cooler.take({"COOLER_ON": "On"})
        self._send(cooler.update("Busy"))
        self._send(wanted.update("Busy"))
        self.after("temperature", STEP, lambda: self._cool_on(target, SETTLING))

    def _cool_on(self, target: float, looks: int) -> None:
        """Go on to a temperature; it is Ok after some looks there."""
        vector = self.vectors["CCD_TEMPERATURE"]
        here = vector.number("CCD_TEMPERATURE_VALUE")
        here += max(-COOLING, min(COOLING, target - here))
        if here == target:
            looks -= 1
        state = "Busy" if looks >= 0 else "Ok"
        self._send(vector.update(state, CCD_TEMPERATURE_VALUE=repr(here)))
        if looks >= 0:
            self.after("temperature", LOOK, lambda: self._cool_on(target, looks))

    def _cooler(self, wanted: SimulatedVector, values: Values) -> None:
        wanted.take(values)
        on = wanted.values["COOLER_ON"] == "On"
        self._send(wanted.update("Busy" if on else "Idle"))

    def _ramp(self, wanted: SimulatedVector, values: Values) -> None:
        self._send(wanted.update("Ok", **values))
        slope = wanted.number("RAMP_SLOPE")
        self.say(
            "[INFO] Temperature ramp is enabled. Gradual cooling and warming is "
            f"regulated at {slope:.0f} Celsius per minute."
        )
        self.say_saved()

    def _is_on(self, vector: str, member: str) -> bool:
        return self.vectors[vector].values[member] == "On"
