"""An error of ours while one line or edge is handled costs this one."""

from gpio_bridge.lines.inputs import Input
from gpio_bridge.lines.outputs import Output
from tests.gpio_bridge.test_bridge import stage


async def test_an_edge_whose_handling_raises_costs_its_line(monkeypatch):
    on_edge = Input.on_edge

    def broken(self, edge, lost):
        if self.name == "bell":
            raise ValueError("a bug")
        on_edge(self, edge, lost)

    monkeypatch.setattr(Input, "on_edge", broken)
    async with stage() as bench:
        bench.chip.drive(23, True)
        assert await bench.bus.bad("header", "bell", "internal")
        bench.chip.drive(17, False)
        assert await bench.seen("edge", 1)
        assert bench.bus.faults("header").keys() == {"bell"}
        assert bench.bus.retained("header", "status")["state"] == "online"


async def test_a_line_that_cannot_be_taken_for_an_error_of_ours_costs_this_line(
    monkeypatch,
):
    async def broken(self):
        raise ValueError("a bug")

    monkeypatch.setattr(Output, "open", broken)
    async with stage() as bench:
        assert "a bug" in await bench.bus.bad("header", "lamp", "internal")
        assert await bench.bus.value("header", "door") is False


async def test_a_line_that_cannot_be_read_again_costs_this_line(monkeypatch):
    async def broken(self):
        raise ValueError("a bug")

    async with stage() as bench:
        monkeypatch.setattr(Input, "refresh", broken)
        assert (await bench.bus.call("header", "refresh"))["ok"]
        assert await bench.bus.bad("header", "door", "internal")
        assert "lamp" not in bench.bus.faults("header")
        assert bench.bus.retained("header", "status")["state"] == "online"
