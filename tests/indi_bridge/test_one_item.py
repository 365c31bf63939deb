"""An error of ours while one vector or element is handled costs this one."""

import pytest

from busbar.codecs.indi import SetVector
from indi_bridge import publisher
from indi_bridge.vectors import Vector
from tests.indi_bridge.stage import CAMERA, FOCUSER, observatory

POSITION = "ABS_FOCUS_POSITION"
TEMPERATURE = "CCD_TEMPERATURE"


async def test_a_vector_whose_value_raises_costs_this_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = Vector.value

    def broken(self: Vector) -> dict[str, object]:
        if self.name == TEMPERATURE:
            raise ValueError("a bug")
        return value(self)

    monkeypatch.setattr(Vector, "value", broken)
    async with observatory() as stage:
        assert await stage.bus.bad(CAMERA, TEMPERATURE, "internal")
        assert stage.vector(CAMERA, "CONNECTION")["CONNECT"]
        assert stage.bus.faults(CAMERA).keys() == {TEMPERATURE}
        assert stage.bus.retained("pi", "status")["state"] == "online"


async def test_a_vector_whose_description_raises_costs_this_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    described = publisher.vector_property

    def broken(vector: Vector) -> publisher.Property:
        if vector.name == TEMPERATURE:
            raise ValueError("a bug")
        return described(vector)

    monkeypatch.setattr(publisher, "vector_property", broken)
    async with observatory() as stage:
        assert stage.vector(CAMERA, "CONNECTION")["CONNECT"]
        assert TEMPERATURE not in stage.properties(CAMERA)
        assert (await stage.bus.call("bridge", "refresh"))["ok"]
        assert await stage.bus.value("bridge", "errors", lambda count: count > 0)


async def test_an_update_that_raises_costs_this_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apply = Vector.apply

    def broken(self: Vector, update: SetVector, now: float) -> bool:
        if self.name == POSITION:
            raise ValueError("a bug")
        return apply(self, update, now)

    async with observatory() as stage:
        await stage.online(FOCUSER, POSITION)
        monkeypatch.setattr(Vector, "apply", broken)
        moving = {"FOCUS_ABSOLUTE_POSITION": 1000, "_timeout": 0.5}
        await stage.write(FOCUSER, POSITION, moving)
        assert await stage.bus.bad(FOCUSER, POSITION, "internal")
        assert stage.bus.faults(FOCUSER).keys() == {POSITION}
        assert stage.bus.retained("pi", "status")["state"] == "online"
