"""The SCPI bridge as a process, its simulator, a real Mosquitto.

What the contract promises when things break.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho

from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto, find
from tests.process import BENCH, BridgeProcess
from tests.proxy import Proxy
from tests.watcher import Watcher, retained

PSU = "busbar/bench/psu"
BRIDGE = "busbar/bench/bridge"


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@asynccontextmanager
async def bench(
    url: str, watch: int, folder: Path, protocol: int = paho.MQTTv5, extra: str = ""
) -> AsyncIterator[tuple[Simulator, BridgeProcess, Watcher]]:
    async with Simulator() as simulator, Watcher(watch, protocol=protocol) as watcher:
        with BridgeProcess(
            BENCH.format(psu=simulator.psu.port) + extra, url, folder
        ) as bridge:
            await until(lambda: online(watcher), "the bridge and its device online")
            yield simulator, bridge, watcher


def online(watcher: Watcher, since: int = 0) -> bool:
    """Bridge and device are online, and the snapshot has a reading."""
    seen = watcher.seen[since:]
    newest = {each.topic: each for each in seen if each.payload}
    state = newest.get(f"{PSU}/state")
    statuses = [newest.get(f"{device}/status") for device in (PSU, BRIDGE)]
    return bool(
        all(each and each.json["state"] == "online" for each in statuses)
        and state
        and "voltage" in state.json["values"]
    )


def state(watcher: Watcher) -> Any:
    return (watcher.last(f"{PSU}/state") or {}).get("values", {})


async def test_everything_retained_is_back_after_the_broker_came_back_empty(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (simulator, _, watcher):
        await until(lambda: has(broker, f"{PSU}/state/voltage"), "the leaves")
        before = set(await retained(broker.port))
        broker.kill()
        simulator.psu.device.channels[0].voltage = 7.0
        mark = len(watcher.seen)
        broker.start()
        await until(lambda: online(watcher, mark), "the bridge back online")
        await until(lambda: has(broker, *before), "every retained topic")
        kept = await retained(broker.port)
        assert json.loads(kept[f"{PSU}/state"])["values"]["setpoint/voltage"] == 7.0
        assert json.loads(kept[f"{BRIDGE}/status"])["state"] == "online"
        reply = await watcher.call(f"{PSU}/call/query", "*IDN?")
        assert reply["ok"]
        await until(
            lambda: (
                (watcher.last(f"{BRIDGE}/state") or {})["values"]["reconnects"] >= 1
            ),
            "the count",
        )


async def test_an_instrument_that_goes_is_offline_and_comes_back_by_itself(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (simulator, _, watcher):
        simulator.psu.refuse()
        simulator.psu.drop()
        await until(
            lambda: watcher.last(f"{PSU}/status")["state"] == "offline", "offline"
        )
        status = watcher.last(f"{PSU}/status")
        assert status["reason"]["code"] == "link"
        await until(
            lambda: "voltage" in watcher.last(f"{PSU}/state")["bad"], "bad values"
        )
        refused = await watcher.call(f"{PSU}/set/output", "on")
        assert refused["error"]["code"] == "offline"
        assert refused["error"]["retryable"]
        simulator.psu.device.channels[0].voltage = 9.0
        await simulator.psu.accept()
        await until(
            lambda: watcher.last(f"{PSU}/status")["state"] == "online",
            "online again",
            60,
        )
        await until(
            lambda: state(watcher).get("setpoint/voltage") == 9.0, "the new set point"
        )
        await until(lambda: watcher.last(f"{PSU}/state")["bad"] == {}, "nothing bad")


async def test_a_late_reply_is_never_taken_for_the_next_answer(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (simulator, _, watcher):
        await watcher.call(f"{PSU}/call/lock", '{"polls": false, "ttl": 60}')
        lease = watcher.last(f"{PSU}/reply")["result"]["lease"]
        simulator.psu.late(1, 1.5)
        silent = await watcher.call(
            f"{PSU}/call/query", json.dumps({"command": "*IDN?", "_lease": lease})
        )
        assert silent["error"]["code"] == "timeout"
        for volts in ("3", "4", "5"):
            set_ = await watcher.call(
                f"{PSU}/set/setpoint/voltage",
                json.dumps({"_value": float(volts), "_lease": lease}),
            )
            assert set_["ok"], set_
            asked = await watcher.call(
                f"{PSU}/call/query",
                json.dumps({"command": "SOUR1:VOLT?", "_lease": lease}),
            )
            assert float(asked["result"]) == float(volts)


async def test_commands_that_cannot_be_run_are_refused_and_never_reach_the_instrument(
    broker: Mosquitto, tmp_path: Path
) -> None:
    # a retained command that the broker replays is refused and cleared
    await with_client(
        broker, "mosquitto_pub", "-r", "-t", f"{PSU}/set/setpoint/voltage", "-m", "29"
    )
    async with bench(broker.url, broker.port, tmp_path) as (simulator, _, watcher):
        await until(lambda: watcher.on(f"{PSU}/reply"), "the outcome")
        assert watcher.on(f"{PSU}/reply")[0].json["error"]["code"] == "retained"
        await until(lambda: lacks(broker, f"{PSU}/set/"), "the topic cleared")
        for topic, payload, code in [
            ("set/setpoint/voltage", "31", "out_of_range"),
            ("set/setpoint/voltage", "much", "bad_request"),
            ("set/setpoint/voltage", '{"_value": 5, "_tll": 3}', "bad_request"),
            (
                "set/setpoint/voltage",
                json.dumps({"_value": 5, "_ttl": 0, "_id": "a"}),
                "expired",
            ),
            ("set/voltage", "1", "read_only"),
            ("set/volts", "1", "unknown"),
            ("call/fly", "{}", "unknown"),
            ("call/query", '{"comand": "*RST"}', "bad_request"),
            ("set", "[" * 5000, "bad_request"),
        ]:
            if code == "expired":  # something must be ahead of it in the queue
                simulator.psu.slow = 0.4
                watcher.publish(f"{PSU}/call/identify", "{}")
            reply = await watcher.call(f"{PSU}/{topic}", payload)
            simulator.psu.slow = 0
            assert reply.get("error", {}).get("code") == code, (
                topic,
                payload[:100],
                reply,
            )
        sent = list(simulator.psu.lines)
        assert not [line for line in sent if line.startswith("SOUR1:VOLT ")], sent


async def test_a_clean_stop_publishes_stopped_and_leaves_no_will(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (_, bridge, watcher):
        mark = len(watcher.seen)
        bridge.signal(signal.SIGTERM)
        await until(lambda: bridge.returncode is not None, "the end of the process")
        assert bridge.returncode == 0, bridge.log
        await until(
            lambda: watcher.last(f"{BRIDGE}/status")["state"] == "stopped", "stopped"
        )
        statuses = [
            each.json["state"]
            for each in watcher.seen[mark:]
            if each.topic == f"{BRIDGE}/status"
        ]
        assert statuses[-1] == "stopped"
        assert "offline" not in statuses
        assert watcher.last(f"{PSU}/status")["state"] == "stopped"


async def test_a_killed_bridge_is_offline_by_its_will_and_a_new_process_takes_over(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (_, bridge, watcher):
        boot = watcher.last(f"{BRIDGE}/status")["boot"]
        bridge.signal(signal.SIGKILL)
        await until(
            lambda: watcher.last(f"{BRIDGE}/status")["state"] == "offline", "the will"
        )
        assert watcher.last(f"{BRIDGE}/status") | {"reason": None} == {
            "state": "offline",
            "since": None,
            "boot": boot,
            "revision": 0,
            "seq": 0,
            "reason": None,
        }
        mark = len(watcher.seen)
        bridge.start()
        await until(lambda: online(watcher, mark), "the new process")
        assert watcher.last(f"{BRIDGE}/status")["boot"] != boot


async def test_left_over_topics_of_devices_that_are_gone_are_removed_at_the_start(
    broker: Mosquitto, tmp_path: Path
) -> None:
    for topic in (
        "old/status",
        "old/state",
        "old/state/x",
        "old/info",
        "psu/state/old_leaf",
    ):
        await with_client(
            broker, "mosquitto_pub", "-r", "-t", f"busbar/bench/{topic}", "-m", "{}"
        )
    await with_client(
        broker, "mosquitto_pub", "-r", "-t", "busbar/other/x/status", "-m", "{}"
    )
    async with bench(broker.url, broker.port, tmp_path):
        await until(lambda: lacks(broker, "old"), "the left-overs gone")
        assert await has(broker, "busbar/other/x/status")


async def test_the_retained_value_is_new_after_withheld_acknowledgements(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Proxy(broker.port) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with bench(url, broker.port, tmp_path) as (simulator, _, watcher):
            channel = simulator.psu.device.channels[0]
            for volts in (3.0, 5.0, 8.0):
                proxy.downstream.clear()  # the broker's acknowledgements do not arrive
                channel.voltage = volts
                await until(
                    lambda v=volts: state(watcher).get("setpoint/voltage") == v,
                    "the first value",
                )
                proxy.upstream.clear()  # and now nothing does
                channel.voltage = volts + 1
                reads = len(simulator.psu.lines)
                await until(
                    lambda r=reads: len(simulator.psu.lines) > r + 6,
                    "readings of the new value",
                )
                mark = len(watcher.seen)
                proxy.cut()
                proxy.upstream.set()
                proxy.downstream.set()
                await until(lambda m=mark: online(watcher, m), "the bridge again")
                await until(
                    lambda v=volts: state(watcher).get("setpoint/voltage") == v + 1,
                    "the new value",
                )
                kept = await retained(broker.port)
                assert (
                    json.loads(kept[f"{PSU}/state"])["values"]["setpoint/voltage"]
                    == volts + 1
                )
                after = [
                    s.json["values"]["setpoint/voltage"]
                    for s in watcher.seen[mark:]
                    if s.topic == f"{PSU}/state"
                ]
                assert after == sorted(after), "an old value came after a newer one"


@pytest.mark.parametrize("protocol", ["mqttv311", "mqttv5"])
async def test_mosquitto_clients_command_and_read(
    broker: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (simulator, _, watcher):
        await with_client(
            broker,
            "mosquitto_pub",
            "-V",
            protocol,
            "-t",
            f"{PSU}/set/setpoint/voltage",
            "-m",
            "6.5",
        )
        await until(
            lambda: state(watcher).get("setpoint/voltage") == 6.5, "the set point"
        )
        leaf = await with_client(
            broker,
            "mosquitto_sub",
            "-V",
            protocol,
            "-t",
            f"{PSU}/state/setpoint/voltage",
            "-C",
            "1",
        )
        assert leaf.strip() == "6.5"
        answer = await with_client(
            broker,
            "mosquitto_rr",
            "-V",
            protocol,
            "-t",
            f"{PSU}/call/query",
            "-e",
            "busbar/reply/rr/1",
            "-W",
            "10",
            "-m",
            '{"command": "*IDN?", "_reply": "busbar/reply/rr/1", "_id": "rr-1"}',
        )
        assert json.loads(answer) | {"time": 0, "took": 0} == {
            "bridge": "bench",
            "device": "psu",
            "id": "rr-1",
            "target": "call/query",
            "ok": True,
            "time": 0,
            "took": 0,
            "result": "BUSBAR,PSU-SIM 30-5,SIM0001,1.0",
        }
        assert simulator.psu.device.channels[0].voltage == 6.5


async def test_a_bridge_on_mqtt_3_1_1_serves_the_same(
    broker: Mosquitto, tmp_path: Path
) -> None:
    extra = "broker: {protocol: 3.1.1}\n"
    async with bench(broker.url, broker.port, tmp_path, paho.MQTTv311, extra) as (
        _,
        __,
        watcher,
    ):
        assert (await watcher.call(f"{PSU}/set/output", "on"))["result"] is True
        refused = await watcher.call(
            f"{PSU}/call/query",
            ('{"command": "A?", "_reply": "somewhere/else", "_id": "x"}'),
        )
        assert (refused["id"], refused["error"]["code"]) == ("x", "forbidden")
        assert "as busbar.bench (p2," in broker.log  # Mosquitto's word for 3.1.1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_each_command_runs_once_and_has_one_outcome(
    broker: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    async with bench(
        broker.url, broker.port, tmp_path, extra=f"broker: {{protocol: {protocol}}}\n"
    ) as (
        simulator,
        _,
        watcher,
    ):
        commands = {
            "set": '{"output": true}',
            "set/setpoint/voltage": "3",
            "call/write": "*CLS",
        }
        for target, payload in commands.items():
            await watcher.call(f"{PSU}/{target}", payload)
        await watcher.call(f"{PSU}/call/identify", "{}")
        targets = [each.json["target"] for each in watcher.on(f"{PSU}/reply")]
        assert targets == [*commands, "call/identify"]
        sent = list(simulator.psu.lines)
        assert [sent.count(line) for line in ("OUTP1 1", "SOUR1:VOLT 3.0", "*CLS")] == [
            1,
            1,
            1,
        ]


async def test_a_second_bridge_of_the_same_name_makes_the_first_one_leave(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (simulator, first, watcher):
        folder, boot = tmp_path / "second", watcher.last(f"{BRIDGE}/status")["boot"]
        folder.mkdir()
        with BridgeProcess(
            BENCH.format(psu=simulator.psu.port), broker.url, folder
        ) as second:
            await until(lambda: first.returncode is not None, "the first to leave")
            assert first.returncode == 69
            assert "duplicate bridge name" in first.log
            # the first took the name from the second once more before it knew
            await watcher.abreast()
            served = lambda: (  # noqa: E731
                watcher.last(f"{BRIDGE}/status")["boot"] != boot and online(watcher)
            )
            await until(served, "the second to serve", 60)
            assert second.returncode is None
            assert (await watcher.call(f"{PSU}/call/query", "*IDN?"))["ok"]


async def test_a_broker_that_comes_back_with_an_older_file_ends_no_bridge(
    tmp_path: Path,
) -> None:
    """Crash, restart, and a broker that was killed before it saved that."""
    persistent = (
        "persistence true",
        "persistence_file kept.db",
        "autosave_interval 3600",
    )
    with Mosquitto(*persistent) as broker:
        async with bench(broker.url, broker.port, tmp_path) as (_, bridge, watcher):
            bridge.signal(signal.SIGKILL)
            await until(
                lambda: watcher.last(f"{BRIDGE}/status")["state"] == "offline",
                "the will",
            )
            file = broker.directory / "kept.db"
            os.kill(broker.pid, signal.SIGUSR1)
            await until(file.exists, "the file")
            for _ in range(2):
                mark = len(watcher.seen)
                bridge.start()
                await until(lambda m=mark: online(watcher, m), "online", 60)
                bridge.signal(signal.SIGTERM)
                await until(lambda: bridge.returncode is not None, "the end")
            mark = len(watcher.seen)
            bridge.start()
            await until(lambda: online(watcher, mark), "online", 60)
            boot = watcher.last(f"{BRIDGE}/status")["boot"]
            broker.kill()
            mark = len(watcher.seen)
            broker.start()
            await until(lambda: online(watcher, mark), "online again", 60)
            assert bridge.returncode is None, bridge.log
            assert watcher.last(f"{BRIDGE}/status")["boot"] == boot
            assert "asking whether it lives" in bridge.log


async def test_a_changed_configuration_is_taken_on_sighup_and_a_wrong_one_is_reported(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bench(broker.url, broker.port, tmp_path) as (_, bridge, watcher):
        good = bridge.file.read_text()
        bridge.file.write_text(good + "    prperties: []\n")
        bridge.signal(signal.SIGHUP)
        await until(lambda: watcher.on(f"{BRIDGE}/event/log"), "the complaint")
        message = watcher.on(f"{BRIDGE}/event/log")[-1].json["message"]
        assert "bridge.yaml:11:5: devices[0].prperties: unknown key" in message, message
        assert watcher.last(f"{PSU}/status")["state"] == "online"
        bridge.file.write_text(good.replace("name: psu", "name: supply"))
        bridge.signal(signal.SIGHUP)
        await until(
            lambda: (
                (watcher.last("busbar/bench/supply/status") or {}).get("state")
                == "online"
            ),
            "the new one",
        )
        await until(lambda: lacks(broker, "/psu/"), "the old one's topics gone")


async def with_client(broker: Mosquitto, program: str, *arguments: str) -> str:
    """Run one of Mosquitto's own clients; return what it prints."""
    command = [find(program), "-p", str(broker.port), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, check=True, timeout=60, text=True
    )
    return str(done.stdout)


async def has(broker: Mosquitto, *topics: str) -> bool:
    return set(topics) <= set(await retained(broker.port))


async def lacks(broker: Mosquitto, part: str) -> bool:
    return not [topic for topic in await retained(broker.port) if part in topic]


def test_the_configuration_is_checked_offline_with_its_own_exit_code(
    tmp_path: Path,
) -> None:
    with BridgeProcess(
        BENCH.format(psu=1), "mqtt://127.0.0.1:1", tmp_path, "--check"
    ) as good:
        assert wait(good) == 0
        assert "fine" in good.log
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    with BridgeProcess(
        "bridge: {nme: x}\n", "mqtt://127.0.0.1:1", wrong, "--check"
    ) as bad:
        assert wait(bad) == 78
        assert (
            'bridge.yaml:1:10: bridge.nme: unknown key; did you mean "name"?'
        ) in bad.log


def wait(process: BridgeProcess) -> int:
    end = time.monotonic() + 60
    while process.returncode is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.returncode is not None
    return process.returncode
