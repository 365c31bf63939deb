"""The tables of the README, row by row; its examples of how to decode a batch."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from busbar.codecs import can
from busbar.config import loader
from busbar.runtime.service import run
from busbar.testing.fakes import settle, until
from can_bridge.bridge import SERVICE
from can_bridge.settings import Config
from can_bridge.simulator.__main__ import Simulator
from tests.can_bridge.peer import configuration, done, on_loopback, rows
from tests.running import running
from tests.tables import codes

TEXT = (Path(__file__).parents[2] / "services/can-bridge/README.md").read_text()


def table(heading):
    """Return the rows of the table below a heading: the code in each cell."""
    return codes(TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0])


COMSRV = {
    row[0][0]: (row[1][0], row[2][0] if len(row) > 2 and row[2] else "")
    for row in table("From comsrv")
}
CAN2MQTT = {row[0][0]: row[1] for row in table("From can2mqtt")}
SENT = {  # what must be on the bus
    "TxRaw(Data)": "321#DEAD",
    "TxRaw(Remote)": "321#R3",
    "TxGct(Heartbeat)": "1C33F800#CDAB",
    "TxGct(SysCtrl)": "0204100C#",
    "TxGct(MonitoringData)": "0E07F883#01",
    "TxGct(MonitoringRequest)": "100410C0#0100000000000080",
    "TxGct(Ddp)": "18041000#816059",
}
RESULTS = {
    "sysctrl_request(src, 1, dst=18)": lambda result: result["data"] == "AQ==",
    "fetch_readings(src, 0, [1, 2], dst=18)": lambda result: (
        [each["index"] for each in result] == [1, 2]
    ),
    "read_single(0, 1)": lambda result: result["src"] == 18,
    'read_single_and_decode(0, 1, "<f")': lambda result: result["values"] == [20.5],
    "ddp(src, 18, data)": lambda result: result["data"] == "AQMCAQ==",
    "ddp_request(src, 18, 1, data)": lambda result: result["data"] == "AQMCAQ==",
    "ddp_write(src, 18, 1, data)": lambda result: result is None,
}


def test_the_tables_are_whole():
    assert len(COMSRV) == 19
    assert len(CAN2MQTT) == 27
    assert SENT.keys() | RESULTS.keys() <= COMSRV.keys()


@pytest.mark.parametrize("call", SENT)
async def test_what_comsrv_sends(call):
    topic, payload = COMSRV[call]
    async with on_loopback("    protocols: [gct]\n") as (bus, peer):
        done(await bus.call("can0", topic.removeprefix("call/"), payload))
        assert can.cansend_text((await peer.receive())[0]) == SENT[call]


@pytest.mark.parametrize("call", RESULTS)
async def test_what_comsrv_asks_nodes(call):
    topic, payload = COMSRV[call]
    more = "    protocols: [gct]\n"
    async with (
        Simulator(quiet=True) as simulator,
        running(SERVICE, configuration(simulator.address, more)) as bus,
    ):
        await bus.status("can0", "online")
        # a busy machine may take longer than 0.1 s
        patient = {**json.loads(payload), "timeout": 20}
        assert RESULTS[call](
            done(await bus.call("can0", topic.removeprefix("call/"), patient))
        )


async def test_what_comsrv_listens_to_and_the_rest():
    assert COMSRV["EnableLoopback(true)"][0] == "receive_own: true"
    more = f"    protocols: [gct]\n    {COMSRV['EnableLoopback(true)'][0]}\n"
    async with on_loopback(more) as (bus, peer):
        done(await bus.call("can0", "send", COMSRV["TxRaw(Data)"][1]))
        await until(
            lambda: rows(bus, COMSRV["ListenRaw(true)"][0].removeprefix("event/"))
        )
        await peer.send(can.parse("1C33F800#CDAB"))
        await until(
            lambda: bus.events(
                "can0", COMSRV["ListenGct(true)"][0].removeprefix("event/")
            )
        )
        assert (
            done(
                await bus.call(
                    "bridge", COMSRV["ListCanDevices"][0].rpartition("/")[2], "{}"
                )
            )
            is not None
        )
        done(
            await bus.call(
                "can0", COMSRV["StopAll"][0].removeprefix("call/"), COMSRV["StopAll"][1]
            )
        )
        await bus.status("can0", "offline")


def test_the_options_of_can2mqtt(tmp_path, monkeypatch):
    device = f"  - {{name: can0, {CAN2MQTT['-c can0'][0]}"
    for option in ("-d 0", "-d 1", "-d 2", "none"):
        text = f"bridge: {{name: truck}}\ndevices:\n{device}, {CAN2MQTT[option][0]}}}\n"
        for key in ("-m tcp://127.0.0.1:1883", "-v"):
            text += f"{CAN2MQTT[key][0]}\n"
        found = loader.parse(text, Config, {})
        assert found.broker.url == "mqtt://127.0.0.1:1883"
        assert found.log.level == "trace"
        device_ = found.devices[0]
        expected = {
            "-d 0": (True, True),
            "-d 1": (False, True),
            "-d 2": (True, False),
            "none": (True, True),
        }[option]
        assert (device_.sends, device_.receives) == expected
    assert found.devices[0].frames.publish == "single"
    monkeypatch.chdir(tmp_path)
    Path("truck.yaml").write_text(text)
    assert run(SERVICE, [*CAN2MQTT["-f can2mqtt.csv"][0].split(), "--check"]) == 0


MODES = {
    "uint82ascii": {"value": 0xF1},
    "uint162ascii": {"value": 0xF2F1},
    "uint322ascii": {"value": 0xF4F3F2F1},
    "uint642ascii": {"value": 0xF8F7F6F5F4F3F2F1},
    "int82ascii": {"value": -15},
    "int162ascii": {"value": -3343},
    "int322ascii": {"value": -185339151},
    "int642ascii": {"value": 0xF8F7F6F5F4F3F2F1 - 2**64},
    "4uint82ascii": {"a": 0xF1, "b": 0xF2, "c": 0xF3, "d": 0xF4},
    "8uint82ascii": {"a": 0xF1, "h": 0xF8},
    "4uint162ascii": {"a": 0xF2F1, "d": 0xF8F7},
    "4int82ascii": {"a": -15, "d": -12},
    "8int82ascii": {"a": -15, "h": -8},
    "4int162ascii": {"a": -3343, "d": -1801},
    "2int322ascii": {"a": -185339151, "b": -117967115},
    "2uint322ascii": {"a": 0xF4F3F2F1, "b": 0xF8F7F6F5},
    "16bool2ascii": {"bit0": True, "bit15": True},
    "bytecolor2colorcode": {"red": 0xF1, "green": 0xF2, "blue": 0xF3},
    "pixelbin2ascii": {"pixel": 0xF1, "red": 0xF2, "green": 0xF3, "blue": 0xF4},
}


async def test_the_modes_of_can2mqtt_both_ways():
    assert MODES.keys() == {
        mode for mode in CAN2MQTT if mode.endswith(("ascii", "code"))
    }
    messages = []
    for number, mode in enumerate(MODES):
        signals = ", ".join(CAN2MQTT[mode])
        about = f"name: {mode}, id: {0x100 + number}, signals: [{signals}]"
        messages.append(f"      - {{{about}}}\n")
    more = (
        "    signals: {min_interval: 0}\n    receive_own: false\n    messages:\n"
    ) + "".join(messages)
    async with on_loopback(more) as (bus, peer):
        for number, (mode, values) in enumerate(MODES.items()):
            await peer.send(can.frame(0x100 + number, bytes(range(0xF1, 0xF9))))
            for name, value in values.items():
                assert await bus.value("can0", f"{mode}/{name}") == value
            name, value = next(iter(values.items()))
            done(await bus.set("can0", f"{mode}/{name}", json.dumps(value)))
            assert (await peer.receive())[0].id == 0x100 + number


async def test_the_python_example_decodes_a_batch(capsys):
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    names = {}
    exec(code, names)
    async with on_loopback() as (bus, peer):
        await peer.send(can.frame(0x123, b"\xde\xad"))
        await until(lambda: rows(bus))
        names["frames"](
            None,
            None,
            next(
                each
                for each in bus.broker.published
                if each.topic.endswith("event/frames")
            ),
        )
    assert capsys.readouterr().out.endswith(" 123 rx dead\n")


DECODER = """
// What the example needs of @msgpack/msgpack, by the specification of MessagePack.
exports.decode = (bytes) => {
  let at = 0;
  const take = (count) => bytes.subarray(at, (at += count));
  const many = (count, one) => Array.from({ length: count }, one);
  const map = (count) => Object.fromEntries(many(count, () => [value(), value()]));
  const value = () => {
    const kind = bytes[at++];
    if (kind < 0x80) return kind;
    if (kind < 0x90) return map(kind & 15);
    if (kind < 0xa0) return many(kind & 15, value);
    if (kind < 0xc0) return take(kind & 31).toString();
    switch (kind) {
      case 0xc4: return new Uint8Array(take(bytes[at++]));
      case 0xcb: return take(8).readDoubleBE();
      case 0xcc: return take(1)[0];
      case 0xcd: return take(2).readUInt16BE();
      case 0xce: return take(4).readUInt32BE();
      case 0xdc: return many(take(2).readUInt16BE(), value);
    }
    throw new Error(`0x${kind.toString(16)} at ${at - 1}`);
  };
  return value();
};
"""


async def test_the_javascript_example_decodes_a_batch(tmp_path):
    """With a decoder of a few lines instead of the package, which is not ours."""
    code = re.search(r"```javascript\n(.*?)```", TEXT, re.DOTALL)[1]
    async with on_loopback("    fd: true\n    frames: {flush: 1}\n") as (bus, peer):
        await peer.send(
            can.frame(0x123, b"\xde\xad"),
            can.frame(0x1ABCDEF0, bytes(64), extended=True, fd=True),
        )
        await peer.send(*(can.frame(0x100) for _ in range(20)))
        await settle()
        await bus.clock.advance(1.5)
        (payload,) = bus.broker.payloads(f"{bus.base}/can0/event/frames")
    module = tmp_path / "node_modules/@msgpack/msgpack"
    module.mkdir(parents=True)
    (module / "index.js").write_text(DECODER)
    client = (
        f"const client = "
        f"{{on: (name, call) => call('t', Buffer.from('{payload.hex()}', 'hex'))}};\n"
    )
    (tmp_path / "run.js").write_text(client + code)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(tmp_path / "run.js"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    lines = [line.partition(" ") for line in out.decode().splitlines()]
    assert [rest for _, _, rest in lines] == [
        "123 rx dead",
        f"1abcdef0 rx {'00' * 64}",
        *["100 rx "] * 20,
    ]
    assert all(float(time) > 1e9 for time, _, _ in lines)
