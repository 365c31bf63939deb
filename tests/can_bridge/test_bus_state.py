"""State of a bus: load, counters, error frames, bus-off."""

import asyncio

import can as python
import pytest

from busbar.codecs import can
from busbar.codecs.can import ERROR, Frame
from busbar.errors import LinkLost
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.bus_state import ERROR_EVENTS, BusMonitor
from can_bridge.interfaces.interface import Health
from tests.can_bridge.peer import configuration, done, on_loopback, python_can
from tests.running import running


async def test_counters_and_load():
    async with on_loopback("    bitrate: 125000\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        await bus.clock.advance(1.2)
        await peer.send(*(can.frame(1, bytes(8)) for _ in range(250)))
        done(await bus.call("can0", "cansend", "123#"))
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 250
        assert await bus.value("can0", "_sent", int) == 1
        assert await bus.value("can0", "_bitrate") == 125000
        assert await bus.value("can0", "_bus") == "active"
        loads = [
            each["value"] for each in bus.changes("can0") if each["path"] == "_load"
        ]
        assert 5 < max(loads) <= 23  # 250 frames of 111 bits in a second or more
        await bus.clock.advance(2.2)
        assert await bus.value("can0", "_load", lambda load: load == 0) == 0


async def test_without_a_bit_rate_there_is_no_load():
    async with on_loopback() as (bus, _):
        assert await bus.value("can0", "_load", lambda load: True) is None


def error(id_, *data):
    return python.Message(
        is_error_frame=True, arbitration_id=id_, dlc=8, data=bytes(data).ljust(8, b"\0")
    )


async def test_error_frames_are_told_in_words_and_say_the_state():
    async with (
        python_can("virtual", "errors") as peer,
        running(SERVICE, configuration("can::virtual::errors")) as bus,
    ):
        await bus.status("can0", "online")
        peer.send(error(0x204, 0, 0x30, 0, 0, 0, 0, 130, 7))
        await until(lambda: bus.events("can0", "error"))
        found = bus.events("can0", "error")[0]
        assert (found["state"], found["kinds"], found["tx_errors"]) == (
            "passive",
            ["controller"],
            130,
        )
        assert "passive" in found["text"]
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_errors", int) == 1


class Interface:
    """A bus whose health the test decides."""

    echoes = False
    dropped = skipped = refused = 0
    health_ = Health()

    async def health(self):
        return self.health_


class Outlet:
    def __init__(self):
        self.known, self.events = {}, []

    def values(self, values, time=None):
        self.known.update(values)

    def event(self, name, fields, time=None):
        self.events.append((name, fields))


def trouble(id_):
    return Frame(0.0, id_, ERROR, 8, bytes(8))


async def test_a_flood_of_error_frames_is_a_few_events_and_a_count():
    outlet, bus = Outlet(), Interface()
    monitor = BusMonitor("can0", outlet, bus, (None, None), None)
    monitor.take([trouble(0x80)] * 1000)
    await monitor.report()
    assert len(outlet.events) == ERROR_EVENTS
    assert outlet.known["_errors"] == 1000
    monitor._events_left = 1.0
    monitor.take([trouble(0x80)])
    assert outlet.events[-1][1]["skipped"] == 1000 - ERROR_EVENTS


async def test_a_bus_that_is_off_is_opened_again_where_that_is_configured():
    bus = Interface()
    monitor = BusMonitor("can0", Outlet(), bus, (None, None), 0.0001)
    monitor.take([trouble(0x40)])
    await monitor.report()
    with pytest.raises(LinkLost, match=r"bus-off for 0\.0001 s"):
        for _ in range(1000):
            await monitor.report()


async def test_a_bus_that_restarts_by_itself_or_is_not_to_is_left_alone():
    for restart, own in ((None, None), (0.0001, 0.1)):
        bus, outlet = Interface(), Outlet()
        bus.health_ = Health("off", restart=own)
        monitor = BusMonitor("can0", outlet, bus, (None, None), restart)
        for _ in range(1000):
            await monitor.report()
        assert outlet.known["_bus"] == "off"
        bus.health_ = Health("active")
        await monitor.report()
        assert outlet.known["_bus"] == "active"


async def test_what_was_not_read_in_time_is_counted_and_logged_once(caplog):
    outlet, bus = Outlet(), Interface()
    monitor = BusMonitor("can0", outlet, bus, (None, None), None)
    bus.dropped = 7
    for _ in range(3):
        await monitor.report()
    assert outlet.known["_dropped"] == 7
    assert [record.getMessage() for record in caplog.records] == [
        "can0: 7 frames were lost because they were not read in time"
    ]


async def test_what_an_adapter_refuses_is_counted_and_logged(caplog):
    outlet, bus = Outlet(), Interface()
    monitor = BusMonitor("can0", outlet, bus, (None, None), None)
    bus.refused = 2
    for _ in range(3):
        await monitor.report()
    assert outlet.known["_refused"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        ("can0: the adapter refused what we sent, 2 times")
    ]


async def test_the_load_of_can_fd_is_that_of_both_bit_rates():
    outlet, loop = Outlet(), asyncio.get_running_loop()
    monitor = BusMonitor("can0", outlet, Interface(), (500_000, 4_000_000), None)
    monitor._reported_at = loop.time() - 1.0
    monitor.take([can.frame(1, bytes(64), fd=True, brs=True)] * 4000)
    await monitor.report()
    nominal, fast = can.bits(can.frame(1, bytes(64), fd=True, brs=True))
    assert outlet.known["_load"] == pytest.approx(
        100 * 4000 * (nominal / 500_000 + fast / 4_000_000), rel=0.2
    )
    assert 40 < outlet.known["_load"] < 90


async def test_what_comes_back_is_counted_once_and_every_look_begins_again():
    outlet, fast = Outlet(), can.frame(1, bytes(64), fd=True, brs=True)
    monitor = BusMonitor("can0", outlet, Interface(), (500_000, 4_000_000), None)
    monitor.count_sent([fast] * 100, echoed=True)
    await monitor.report()
    assert (outlet.known["_sent"], outlet.known["_load"]) == (100, 0)
    monitor.count_sent([fast] * 100, echoed=False)
    monitor.take([fast] * 100)
    await monitor.report()
    assert outlet.known["_load"] > 0
    assert outlet.known["_rate"] > 0
    await monitor.report()
    assert (
        outlet.known["_load"],
        outlet.known["_rate"],
        outlet.known["_received"],
    ) == (0, 0, 100)
