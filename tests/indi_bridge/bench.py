"""A driver that does what a test says.

No INDI device, but everything that the contract wants of one.
"""

from collections.abc import Mapping

from busbar.codecs.indi import DefMember, DefVector, NewBlob
from indi_bridge.simulator.driver import Driver, Property, Tell, TellBlob


class Bench(Driver):
    def __init__(self, tell: Tell, tell_blob: TellBlob, name: str = "Bench") -> None:
        super().__init__(name, tell, switched=False)
        self.marks: list[str] = []
        self._tell_blob = tell_blob
        self.number("LEVEL", {"VALUE": (1.0, "%g", 0.0, 30.0, 0.0)})
        self.switch("OUTPUT", {"ON": False}, rule="AnyOfMany")
        self.number("READING", {"VALUE": (1.5, "%g", 0.0, 0.0, 0.0)}, perm="ro")
        self.number("REFUSING", {"VALUE": (0.0, "%g", 0.0, 100.0, 0.0)}, self._refuse)
        self.number(
            "SILENT",
            {"VALUE": (0.0, "%g", 0.0, 100.0, 0.0)},
            lambda wanted, values: None,
            timeout=1,
        )
        park = {"PARK": False, "UNPARK": True}
        self.switch(
            "TELESCOPE_PARK",
            park,
            lambda wanted, values: self._tell(wanted.news("Busy")),
            timeout=1,
        )
        self.text("MARK", {"TEXT": ""}, self._mark)
        self.text("NOTES", {f"NOTE_{number}": "x" * 100 for number in range(60)})
        picture = (DefMember("IMAGE", "Picture"),)
        self.other(
            DefVector(
                "BLOB", name, "PICTURE", picture, "Picture", "Main Control", perm="ro"
            )
        )

    def change(self, name: str, member: str, value: str) -> None:
        """Let the device itself change a value."""
        self.show(name, "Ok", **{member: value})

    def picture(self, data: bytes, format: str = ".png") -> None:
        self._tell_blob(
            self.properties["PICTURE"].news("Ok"),
            {"IMAGE": NewBlob(data, format, len(data))},
        )

    def _refuse(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.say("[ERROR] never")
        self._tell(wanted.news("Alert"))

    def _mark(self, wanted: Property, values: Mapping[str, str]) -> None:
        self.marks.append(values["TEXT"])
        self._tell(wanted.news("Ok", TEXT=values["TEXT"]))
