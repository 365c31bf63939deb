"""Against programs that nobody here wrote.

Mbpoll reads our simulator, we read libmodbus and pymodbus.
"""

import contextlib

import pytest

from busbar.codecs.modbus import values
from busbar.testing.fakes import until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.simulator.__main__ import Simulator
from tests.broker import free_port
from tests.modbus_bridge.peers import built, cable, mbpoll, process, pymodbus_simulator
from tests.running import running


async def check_mbpoll(simulator, *where):
    """Read and write all that mbpoll can."""
    heating, meter = simulator.plant.heating, simulator.plant.meter
    heating.put("holding", 40, 215)
    assert await mbpoll(*where, "-a", "18", "-0", "-t", "4", "-r", "40", "-c", "2") == {
        40: "215",
        41: "0",
    }
    await mbpoll(*where, "-a", "18", "-0", "-t", "4", "-r", "40", "199")  # function 6
    assert heating.get("holding", 40) == 199
    # function 16
    await mbpoll(*where, "-a", "18", "-0", "-t", "4", "-r", "40", "1", "2", "3")
    assert [heating.get("holding", each) for each in (40, 41, 42)] == [1, 2, 3]
    await mbpoll(*where, "-a", "18", "-0", "-t", "0", "-r", "3", "1")  # function 5
    assert heating.bits["coil"][3]
    # function 15
    await mbpoll(*where, "-a", "18", "-0", "-t", "0", "-r", "3", "0", "1", "1")
    assert await mbpoll(*where, "-a", "18", "-0", "-t", "0", "-r", "3", "-c", "3") == {
        3: "0",
        4: "1",
        5: "1",
    }
    meter.bits["discrete"][9] = True
    assert await mbpoll(*where, "-a", "17", "-0", "-t", "1", "-r", "8", "-c", "2") == {
        8: "0",
        9: "1",
    }
    meter.put("input", 5, 77)
    assert await mbpoll(*where, "-a", "17", "-0", "-t", "3", "-r", "5") == {5: "77"}
    for order, option in (("big", ["-B"]), ("little_swap", [])):
        meter.words["holding"][200:204] = values.Plain("float32", order).encode(
            123456.0
        )
        assert await mbpoll(
            *where, "-a", "17", "-0", *option, "-t", "4:float", "-r", "100"
        ) == {100: "123456"}
    with pytest.raises(AssertionError, match="Illegal data address"):
        await mbpoll(*where, "-a", "17", "-0", "-t", "4", "-r", "5000")


async def test_mbpoll_reads_and_writes_our_simulator_by_tcp():
    async with Simulator() as simulator:
        await check_mbpoll(
            simulator, "-m", "tcp", "-p", str(simulator.port), "127.0.0.1"
        )


async def test_mbpoll_reads_and_writes_our_simulator_by_rtu(tmp_path):
    async with (
        cable(tmp_path) as (ours, theirs),
        Simulator() as simulator,
        simulator.on_serial(ours),
    ):
        await check_mbpoll(simulator, "-m", "rtu", "-b", "115200", "-P", "none", theirs)


async def test_mbpoll_reads_and_writes_through_a_line_that_is_offered():
    port = free_port()
    text = """
bridge: {{name: plant}}
channels:
  - {{name: line1, address: "{address}",
     serve: {{listen: "127.0.0.1:{port}", access: rw}}}}
devices:
  - {{name: meter, channel: line1, unit: 17}}
  - {{name: heating, channel: line1, unit: 18}}
"""
    async with Simulator(framing="rtu") as simulator:
        async with running(
            SERVICE, text.format(address=simulator.address, port=port)
        ) as bus:
            await bus.status("heating", "online")
            await check_mbpoll(simulator, "-m", "tcp", "-p", str(port), "127.0.0.1")
        assert simulator.connections == 0


LIBMODBUS = """
bridge: {{name: plant}}
devices:
  - name: peer
    address: {address}
    unit: 17
    timeout: 2
    resync: quiet
    properties:
      - {{path: abcd, address: 0, type: float32, order: big, access: rw, every: 0.1}}
      - {{path: dcba, address: 2, type: float32, order: little, access: rw, every: 0.1}}
      - {{path: badc, address: 4, type: float32, order: big_swap, access: rw,
         every: 0.1}}
      - {{path: cdab, address: 6, type: float32, order: little_swap, access: rw,
         every: 0.1}}
      - {{path: word, address: 200, access: rw, every: 0.1}}
      - {{path: bit, address: 201, bit: 15, access: rw, every: 0.1}}
      - {{path: input, table: input, address: 300, every: 0.1}}
      - {{path: coil, table: coil, address: 300, access: rw, every: 0.1}}
      - {{path: discrete, table: discrete, address: 301, every: 0.1}}
"""


@contextlib.asynccontextmanager
async def libmodbus(kind, folder):
    """The server made of libmodbus; given is the address of the bridge."""
    program = str(built(folder))
    if kind == "tcp":
        async with process(program, "tcp", "0", says=r"\d+") as port:
            yield f"modbus::tcp::127.0.0.1:{port}"
    else:
        async with (
            cable(folder) as (ours, theirs),
            process(program, "rtu", theirs, says="ready"),
        ):
            yield f"modbus::rtu::{ours}::115200::8N1"


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
async def test_libmodbus_is_read_and_written_in_all_orders(kind, tmp_path):
    """Its registers hold the bytes of a float in all four orders, put there in C."""
    async with (
        libmodbus(kind, tmp_path) as address,
        running(SERVICE, LIBMODBUS.format(address=address)) as bus,
    ):
        for path in ("abcd", "dcba", "badc", "cdab"):
            assert await bus.value("peer", path) == 123456.0
            assert (await bus.set("peer", path, -12.5))["result"] == -12.5
        assert await bus.value("peer", "word") == 200
        assert (await bus.set("peer", "word", 65535))["result"] == 65535
        assert (await bus.set("peer", "bit", True))["result"] is True  # function 22
        assert (await bus.call("peer", "read", {"address": 201}))[
            "result"
        ] == 201 | 0x8000
        assert await bus.value("peer", "input") == 300
        assert await bus.value("peer", "coil") is True
        assert (await bus.set("peer", "coil", False))["result"] is False
        assert await bus.value("peer", "discrete") is False
        exchange = {"address": 100, "count": 3, "write_address": 101, "values": [9]}
        assert (await bus.call("peer", "read_write", exchange))["result"] == [
            100,
            9,
            102,
        ]
        many = [number % 2 == 0 for number in range(100)]
        assert (
            await bus.call(
                "peer", "write", {"table": "coil", "address": 10, "value": many}
            )
        )["ok"]
        read = await bus.call(
            "peer", "read", {"table": "coil", "address": 10, "count": 100}
        )
        assert read["result"] == many
        refused = await bus.call("peer", "read", {"address": 499, "count": 2})
        assert refused["error"]["detail"]["code"] == 2


async def test_a_well_formed_function_15_is_taken_where_comsrvs_was_not(tmp_path):
    """docs/protocols/modbus.md, 10: libmodbus drops it without its byte count."""
    async with (
        libmodbus("tcp", tmp_path) as address,
        running(SERVICE, LIBMODBUS.format(address=address)) as bus,
    ):
        await bus.value("peer", "word")
        assert (await bus.call("peer", "request", "0f0003000b02ff07"))[
            "result"
        ] == "0f0003000b"
        assert bus.retained("peer", "status")["state"] == "online"


PYMODBUS = """
bridge: {{name: plant}}
devices:
  - name: peer
    address: modbus::tcp::127.0.0.1:{port}::1
    timeout: 5
    properties:
      - {{path: setpoint, address: 10, scale: 0.1, access: rw, every: 0.1}}
      - {{path: level, address: 12, type: float32, access: rw, every: 0.1}}
      - {{path: text, address: 18, type: string, length: 3, padding: space, every: 0.1}}
      - {{path: word, address: 31, access: rw, every: 0.1}}
"""


async def test_pymodbus_simulator_is_read_and_written(tmp_path):
    async with (
        pymodbus_simulator(tmp_path) as port,
        running(SERVICE, PYMODBUS.format(port=port)) as bus,
    ):
        await until(lambda: "text" in bus.good("peer"), "the values", 60)
        for path, value in (("setpoint", 21.5), ("level", 12.5), ("text", "Busbar")):
            assert await bus.value("peer", path) == value
        assert (await bus.set("peer", "setpoint", 5.5))["result"] == 5.5
        assert (await bus.set("peer", "level", 0.25))["result"] == 0.25
        assert (await bus.set("peer", "word", 9))["result"] == 9
        found = (await bus.call("peer", "identify"))["result"]
        assert (found["vendor"], found["model"]) == ("pymodbus", "simulated")
        refused = await bus.call("peer", "read", {"address": 99})
        assert refused["error"]["code"] == "device"
