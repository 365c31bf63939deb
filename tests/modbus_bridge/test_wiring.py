"""What the configuration says of a line and its units is what they do."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from busbar.codecs.modbus import Read
from tests.modbus_bridge.test_bridge import error, in_a_while, plant

ALONE = """
bridge: {{name: plant}}
channels: [{{name: line1, address: "{address}", {wiring}}}]
devices:
  - name: meter
    channel: line1
    unit: 17
    {more}
  - {{name: heating, channel: line1, unit: 18}}
  - {{name: everyone, channel: line1, unit: 0}}
"""


@asynccontextmanager
async def alone(more="timeout: 20", wiring="gap: 0"):
    """One unit by RTU, and all of them."""
    async with plant(
        "rtu", ALONE.replace("{more}", more).replace("{wiring}", wiring)
    ) as (simulator, bus):
        yield simulator.plant.meter, bus


@pytest.mark.parametrize(
    ("more", "wiring", "first"),
    [
        ("timeout: 20\n    delay: 30", "gap: 0", None),
        ("timeout: 20", "gap: 30", ("meter", "0300010001")),
        ("timeout: 20", "turnaround: 30", ("everyone", "0600010001")),
    ],
    ids=["delay", "gap", "turnaround"],
)
async def test_pauses_are_those_of_the_configuration(more, wiring, first):
    loop = asyncio.get_running_loop()
    async with alone(more, wiring) as (_, bus):
        if first is not None:
            assert (await bus.call(first[0], "request", first[1]))["ok"]
        before = loop.time()
        read = asyncio.create_task(bus.call("meter", "read", {"address": 100}))
        await in_a_while(bus, read.done)
        assert (await read)["ok"]
        assert loop.time() - before >= 29  # the last pause began a little earlier


@pytest.mark.parametrize(
    ("resync", "checks"), [("verify", [Read("input", 0, 1)]), ("quiet", [])]
)
async def test_what_comes_after_a_silence_is_configured(resync, checks):
    async with alone(f"resync: {resync}") as (meter, bus):
        meter.execute, execute = lambda pdu: None, meter.execute
        assert (
            error(await bus.call("meter", "read", {"address": 1, "_timeout": 0.05}))[
                "code"
            ]
            == "timeout"
        )
        meter.execute = execute
        assert (await bus.call("meter", "read", {"address": 2, "_timeout": 0.3}))["ok"]
        assert list(meter.requests) == [*checks, Read("holding", 2, 1)]


@pytest.mark.parametrize(
    ("table", "limits", "reads"),
    [
        ("holding", "join: 8", [(100, 6)]),
        ("holding", "join: 2", [(100, 1), (105, 1)]),
        ("holding", "max_read: 5", [(100, 1), (105, 1)]),
        ("coil", "join: 8", [(100, 6)]),
        ("coil", "max_read_bits: 5", [(100, 1), (105, 1)]),
    ],
)
async def test_what_is_read_together_is_configured(table, limits, reads):
    # braces twice: it goes through two formats
    each = "{{{{path: p{0}, table: {1}, address: {0}, every: 0}}}}"
    listed = ", ".join(each.format(address, table) for address in (100, 105))
    async with alone(f"{limits}\n    properties: [{listed}]") as (meter, bus):
        await bus.value("meter", "p105")
        assert list(meter.requests) == [Read(table, *read) for read in reads]


async def test_a_slow_unit_is_given_the_time_that_a_write_takes():
    """Four requests: function 22, which it does not have, read, write, read back.

    Each may take delay and timeout.
    """
    more = (
        "timeout: 3\n    delay: 2\n    properties: [{{path: bit, address: 4, bit: 1, "
        "access: rw, every: 0}}]"
    )
    async with alone(more) as (meter, bus):
        meter.without = {22}
        written = asyncio.create_task(bus.set("meter", "bit", True))
        await in_a_while(bus, written.done)
        assert (await written)["result"] is True
