"""An error of ours while one signal or frame is handled costs this one."""

import pytest

from can_bridge.frame_events import FramePublisher
from can_bridge.messages import BusMessage, BusSignal
from tests.can_bridge.peer import FAST, cells, engine, on_loopback


async def test_a_signal_whose_conversion_raises_costs_this_signal(monkeypatch):
    plain = BusSignal.plain

    def broken(self, raw):
        if self.path == "EngineData/Speed":
            raise ValueError("a bug")
        return plain(self, raw)

    monkeypatch.setattr(BusSignal, "plain", broken)
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100, 20))
        assert await bus.bad("can0", "EngineData/Speed", "internal")
        assert await bus.value("can0", "EngineData/Temperature") == 20
        assert bus.faults("can0").keys() == {"EngineData/Speed"}


@pytest.mark.parametrize("error", [TypeError("a bug"), LookupError("a bug")])
async def test_a_frame_whose_decoding_raises_costs_this_frame(monkeypatch, error):
    decode = BusMessage.decode

    def broken(self, data):
        if self.name == "EngineData":
            raise error
        return decode(self, data)

    monkeypatch.setattr(BusMessage, "decode", broken)
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100, 20), cells(1, 3800))
        assert await bus.bad("can0", "EngineData/Speed", "internal")
        assert await bus.value("can0", "Cells/Voltage1") == 3.8
        assert bus.retained("can0", "status")["state"] == "online"


async def test_one_that_wants_frames_and_raises_costs_no_other(monkeypatch):
    def broken(self, frames):
        raise ValueError("a bug")

    monkeypatch.setattr(FramePublisher, "take", broken)
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100, 20))
        assert await bus.value("can0", "EngineData/Temperature") == 20
        assert (await bus.call("bridge", "refresh"))["ok"]
        assert await bus.value("bridge", "errors", lambda count: count > 0)
