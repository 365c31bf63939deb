"""What a device's `info` says of a path, and of batches."""

from typing import Any

import pytest
from msgspec import UNSET

from busbar.client.described import items, named, property_of
from busbar.contract.messages import EventInfo, Info, PropertyInfo


def info(
    properties: dict[str, PropertyInfo] | None = None,
    events: dict[str, EventInfo] | None = None,
) -> Info:
    return Info(
        contract=1,
        bridge="lab",
        device="toy",
        boot="b",
        kind="toy",
        revision=1,
        properties=properties or {},
        commands={},
        events=events or {},
        blobs={},
    )


def about(parameters: Any = UNSET, default: Any = UNSET) -> PropertyInfo:
    return PropertyInfo(schema={}, access="r", parameters=parameters, default=default)


FAMILY = info(
    {
        "digital/{join}": about({"join": {"minimum": 1, "maximum": 100}}, False),
        "axis{n}/{name}": about(),
        "digital/7": about(default=True),
    }
)


@pytest.mark.parametrize(
    "path", ["digital/1", "digital/100", "axis1/speed", "axisX/a-b"]
)
def test_a_member_is_described_by_its_family(path: str):
    assert property_of(FAMILY, path) is not None


def test_a_member_with_an_entry_of_its_own_is_described_by_that():
    found = property_of(FAMILY, "digital/7")
    assert found is not None
    assert found.default is True


@pytest.mark.parametrize(
    "path",
    [
        "",
        "digital",
        "digital/0",
        "digital/101",
        "digital/01",
        "digital/x",
        "digital/1/2",
        "digital/\u0661",
        "axis/a",
        "axis1/a b",
        "digital/" + "9" * 5000,
    ],
)
def test_what_is_no_member_is_not_described(path: str):
    assert property_of(FAMILY, path) is None


def test_a_member_with_a_name_is_known_by_its_number_too():
    lights = PropertyInfo(schema={}, access="rw", original="digital/1")
    known = info(
        {
            "digital/{join}": about({"join": {"minimum": 1, "maximum": 100}}, False),
            "lights/on": lights,
        }
    )
    assert named(known, "digital/1") == "lights/on"
    assert [named(known, path) for path in ("digital/2", "lights/on")] == [None, None]
    assert named(None, "digital/1") is None


def test_without_a_description_nothing_is_described():
    assert property_of(None, "a") is None


def test_a_template_that_somebody_made_up_harms_nobody():
    strange = info(
        {"{a}/{a}": about(), "{1}": about(), "{(}": about(), "(((/{x}": about()}
    )
    assert property_of(strange, "one/two") is not None
    assert property_of(strange, "three/four/five") is None


BATCH = info(
    events={
        "frames": EventInfo("frames", schema={"properties": {"frames": {}, "lost": {}}})
    }
)


@pytest.mark.parametrize("known", [BATCH, None, info()])
def test_a_batch_is_taken_apart(known: Info | None):
    assert items(known, "frames", {"frames": [{"id": 1}, {"id": 2}], "lost": 0}) == [
        {"id": 1},
        {"id": 2},
    ]
    assert items(known, "frames", {"frames": [], "lost": 0}) == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"a": 1},
        {"a": [1, 2]},
        {"a": [{"id": 1}, 2]},
        {"a": [{"id": 1}], "b": [{"id": 2}]},
    ],
)
def test_anything_else_is_one_event(fields: dict[str, Any]):
    assert items(None, "x", fields) == [fields]


def test_only_what_the_schema_names_makes_a_batch():
    assert items(BATCH, "frames", {"frames": [{"id": 1}], "more": [{"x": 1}]}) == [
        {"id": 1}
    ]


def test_an_array_of_plain_values_beside_the_batch_does_not_matter():
    assert items(None, "x", {"frames": [{"id": 1}], "tags": ["a"]}) == [{"id": 1}]
