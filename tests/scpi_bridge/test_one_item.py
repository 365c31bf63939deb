"""An error of ours while one answer is handled costs this property."""

from scpi_bridge import settings
from tests.scpi_bridge.test_bridge import EVERY, bench


async def test_an_answer_whose_conversion_raises_costs_this_property(monkeypatch):
    parse = settings.Property.parse

    def broken(self, answer):
        if self.path == "voltage":
            raise ValueError("a bug")
        return parse(self, answer)

    monkeypatch.setattr(settings.Property, "parse", broken)
    async with bench(every=EVERY) as (bus, _):
        assert await bus.bad("psu", "voltage", "internal") == "ValueError: a bug"
        assert await bus.value("psu", "output") is not None
        assert bus.faults("psu").keys() == {"voltage"}
        assert (await bus.call("psu", "identify"))["ok"]
        assert bus.retained("psu", "status")["state"] == "online"
