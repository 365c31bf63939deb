"""Values for people: of an object its members, and how it is."""

import pytest

from busbar.cli.value_table import readable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.02, "5.02"),
        ("ready", "ready"),
        (None, ""),
        (
            {
                "RA": 5.5881,
                "DEC": -5.3911,
                "_text": {"RA": "5:35:17"},
                "_state": "Ok",
                "_time": 1.0,
                "_message": None,
            },
            "RA 5:35:17, DEC -5.3911 (Ok)",
        ),
        ({"CCD1": None, "_state": "Idle"}, "CCD1 (Idle)"),
        ({"TRACK": True, "SLEW": False, "_state": "Idle"}, "TRACK (Idle)"),
        ({"ABORT": False, "_state": "Ok"}, "off (Ok)"),
        ({"size": 3, "file": "a.bin"}, '{"size": 3, "file": "a.bin"}'),
        ({"_state": 5, "X": [1]}, "X [1] (5)"),
    ],
)
def test_what_a_cell_says(value: object, text: str) -> None:
    assert readable(value) == text
