"""What of a state or an info fits into a message, and what it lacks (contract 3)."""

import json

from busbar.contract import messages
from busbar.contract.messages import Info, PropertyInfo, State
from busbar.publish.size_limits import fit, fit_info

SNAPSHOT = State(
    "9f2c61aa",
    5,
    1.5,
    {"small": 1, "large": "x" * 500, "medium": "y" * 100},
    {},
    {"small": 1.0},
)


def test_a_state_that_fits_is_complete():
    payload, lacking = fit(SNAPSHOT, 10_000)
    assert payload == messages.encode(SNAPSHOT)
    assert lacking == 0


def test_the_times_go_before_any_value():
    whole = len(messages.encode(SNAPSHOT))
    payload, lacking = fit(SNAPSHOT, whole - 1)
    assert lacking == 0
    assert "times" not in json.loads(payload)
    assert json.loads(payload)["values"] == SNAPSHOT.values


def test_the_largest_values_are_left_out_and_counted():
    payload, lacking = fit(SNAPSHOT, 300)
    assert len(payload) <= 300
    assert lacking == 1
    assert json.loads(payload)["values"] == {"small": 1, "medium": "y" * 100}


def test_the_last_properties_of_an_info_are_left_out_and_counted():
    properties = {f"p{n}": PropertyInfo({"type": "number"}, "r") for n in range(50)}
    info = Info(1, "lab", "psu", "scpi", 1, properties, {}, {}, {}, "9f2c61aa")
    assert fit_info(info, 100_000) == messages.encode(info)
    payload = fit_info(info, 1000)
    assert len(payload) <= 1000
    shown = json.loads(payload)
    kept = len(shown["properties"])
    assert list(shown["properties"]) == [f"p{n}" for n in range(kept)]
    assert shown["truncated"] == 50 - kept
