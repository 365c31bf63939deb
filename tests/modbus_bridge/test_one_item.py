"""An error of ours while one register is handled costs this register."""

from modbus_bridge import settings
from modbus_bridge.unit import ModbusUnit
from tests.modbus_bridge.test_bridge import plant


async def test_a_register_whose_conversion_raises_costs_this_register(monkeypatch):
    take = settings.Property.take

    def broken(self, data, power=0):
        if self.path == "mode":
            raise ValueError("a bug")
        return take(self, data, power)

    monkeypatch.setattr(settings.Property, "take", broken)
    async with plant() as (_, bus):
        assert await bus.bad("heating", "mode", "internal") == "ValueError: a bug"
        assert await bus.value("heating", "setpoint") is not None
        assert await bus.value("heating", "total") is not None
        assert (await bus.call("bridge", "refresh"))["ok"]
        assert await bus.value("bridge", "errors", lambda count: count > 0)
        assert bus.faults("heating").keys() == {"mode"}
        assert bus.retained("heating", "status")["state"] == "online"


async def test_a_block_whose_answer_raises_costs_this_block(monkeypatch):
    ask = ModbusUnit.ask

    async def broken(self, request, timeout=None):
        if getattr(request, "table", "") == "coil":
            raise ValueError("a bug")
        return await ask(self, request, timeout)

    monkeypatch.setattr(ModbusUnit, "ask", broken)
    async with plant() as (_, bus):
        assert await bus.bad("heating", "relay", "internal") == "ValueError: a bug"
        assert await bus.value("heating", "setpoint") is not None
        assert bus.retained("heating", "status")["state"] == "online"
