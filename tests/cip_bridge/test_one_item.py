"""An error of ours while one join or message is handled costs this one."""

from busbar.codecs.cip import Join
from cip_bridge.panel_role.session import PanelSession
from cip_bridge.paths import JoinPaths
from tests.cip_bridge.theatre import theatre


async def test_a_join_whose_conversion_raises_costs_this_join(monkeypatch):
    shown = JoinPaths.shown

    def broken(self, join, value):
        if join == Join("analog", 100):
            raise ValueError("a bug")
        return shown(self, join, value)

    monkeypatch.setattr(JoinPaths, "shown", broken)
    async with theatre() as (bus, _):
        assert await bus.bad("panel", "temperature", "internal")
        assert await bus.value("panel", "door") is not None
        assert await bus.value("panel", "lights/level") is not None
        assert bus.retained("panel", "status")["state"] == "online"


async def test_a_message_whose_handling_raises_costs_this_message(monkeypatch):
    def broken(self, text):
        raise ValueError("a bug")

    monkeypatch.setattr(PanelSession, "_identify", broken)
    async with theatre() as (bus, _):
        assert (await bus.set("panel", "digital/70", "on"))["ok"]
        assert bus.retained("panel", "status")["state"] == "online"
