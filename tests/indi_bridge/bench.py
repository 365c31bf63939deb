"""A driver that does what a test says.

No INDI device, but everything that the contract wants of one.
"""

from collections.abc import Mapping

from busbar.codecs.indi import DefMember, NewBlob
from indi_bridge.simulator.driver import (
    Send,
    SendBlob,
    SimulatedDriver,
    SimulatedNumber,
    SimulatedVector,
)


def number(value: float, maximum: float) -> dict[str, SimulatedNumber]:
    return {"VALUE": SimulatedNumber(value, "%g", 0.0, maximum, 0.0)}


class Bench(SimulatedDriver):
    def __init__(self, send: Send, send_blob: SendBlob, name: str = "Bench") -> None:
        super().__init__(name, send, switched=False)
        self.marks: list[str] = []
        self._send_blob = send_blob
        self.number("LEVEL", number(1.0, 30.0))
        self.switch("OUTPUT", {"ON": False}, rule="AnyOfMany")
        self.number("READING", number(1.5, 0.0), perm="ro")
        self.number("REFUSING", number(0.0, 100.0), self._refuse)
        self.number("SILENT", number(0.0, 100.0), self._ignore, timeout=1.0)
        parking = {"PARK": False, "UNPARK": True}
        self.switch("TELESCOPE_PARK", parking, self._stay_busy, timeout=1.0)
        self.text("MARK", {"TEXT": ""}, self._mark)
        notes = {}
        for place in range(60):
            notes[f"NOTE_{place}"] = "x" * 100
        self.text("NOTES", notes)
        picture = [DefMember("IMAGE", "Picture")]
        self.define("BLOB", "PICTURE", picture, label="Picture", perm="ro")

    def change(self, name: str, member: str, value: str) -> None:
        """Let the device itself change a value."""
        self.show(name, "Ok", **{member: value})

    def picture(self, data: bytes, format: str = ".png") -> None:
        image = NewBlob(data, format, len(data))
        vector = self.vectors["PICTURE"]
        self._send_blob(vector.update("Ok"), {"IMAGE": image})

    def _ignore(self, wanted: SimulatedVector, values: Mapping[str, str]) -> None:
        """Send no answer."""

    def _stay_busy(self, wanted: SimulatedVector, values: Mapping[str, str]) -> None:
        self._send(wanted.update("Busy"))

    def _refuse(self, wanted: SimulatedVector, values: Mapping[str, str]) -> None:
        self.say("[ERROR] never")
        self._send(wanted.update("Alert"))

    def _mark(self, wanted: SimulatedVector, values: Mapping[str, str]) -> None:
        text = values["TEXT"]
        self.marks.append(text)
        self._send(wanted.update("Ok", TEXT=text))
