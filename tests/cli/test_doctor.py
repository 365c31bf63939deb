"""`busbar doctor` finds what is planted.

No broker, a denied right, two processes of one name, a slip in a variable.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from busbar.cli.check.diagnosis import (
    Asked,
    ObservedBus,
    bridges,
    duplicates,
    own_clock,
    round_trip,
    variables,
)
from busbar.cli.observe import Seen
from busbar.contract.messages import Reply
from tests.broker import Mosquitto, free_port
from tests.cli.command import Bench, Done, busbar, until
from tests.cli.conftest import simulator
from tests.process import BENCH, BridgeProcess


def found(done: Done, check: str) -> dict[str, str]:
    """Return what a check came to: text by state."""
    return {
        each["state"]: each["text"]
        for each in done.json["findings"]
        if each["check"] == check
    }


@contextmanager
def publisher(port: int) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def status(boot: str, state: str = "online") -> str:
    return json.dumps(
        {"state": state, "since": time.time(), "boot": boot, "revision": 1, "seq": 1}
    )


def info(device: str, **more: Any) -> str:
    fields = {
        "contract": 1,
        "bridge": "b",
        "device": device,
        "kind": "scpi",
        "revision": 1,
        "boot": "a",
    }
    return json.dumps(
        {**fields, "properties": {}, "commands": {}, "events": {}, "blobs": {}, **more}
    )


def test_a_bench_in_order_has_nothing_failed(bench: Bench) -> None:
    done = bench("doctor", "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert found(done, "version")["ok"].startswith("mosquitto version 2")
    assert found(done, "bridge bench")["ok"] == "online, 1 of 1 devices online"
    assert found(done, "rights on bench")["ok"].startswith("commands reach it")
    assert "ok" in found(done, "retained")
    assert "ok" in found(done, "duplicates")
    text = bench("doctor")
    assert text.code == 0
    assert text.out.splitlines()[0].startswith("ok")


def test_no_broker_is_said_with_what_to_look_at() -> None:
    done = busbar("doctor", "--json", "-b", f"mqtt://127.0.0.1:{free_port()}")
    assert done.code == 7
    assert "Connection refused" in found(done, "broker")["failed"]
    assert done.json["findings"][-1]["advice"] == (
        "is the broker running there, and is it this port?"
    )


def test_an_empty_broker_is_proven_to_retain() -> None:
    with Mosquitto() as broker:
        done = busbar("doctor", "--json", "-b", broker.url, "--seconds", "0")
        assert done.code == 0
        assert found(done, "retained") == {
            "ok": ("what we retained was there for a second client")
        }
        assert found(done, "bridges") == {"warning": "no bridge has said anything"}


def test_a_broker_that_does_not_retain_is_found() -> None:
    with Mosquitto("retain_available false") as broker:
        done = busbar(
            "doctor",
            "--json",
            "-b",
            broker.url,
            "--seconds",
            "0",
            "--protocol",
            "3.1.1",
        )
        assert done.code in (0, 7)
        assert "ok" not in found(done, "retained")


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (["topic read busbar/#"], "what we publish does not reach it"),
        (
            ["topic readwrite busbar/bench/#"],
            ("we do not hear outcomes sent to us alone"),
        ),
    ],
)
def test_a_right_that_is_missing_is_proven_by_what_does_not_come_back(
    tmp_path: Path, rights: list[str], said: str
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("\n".join(["topic readwrite #", "", "user viewer", *rights, ""]))
    with (
        Mosquitto(f"acl_file {acl}") as broker,
        simulator() as psu,
        BridgeProcess(BENCH.format(psu=psu), broker.url, tmp_path),
    ):
        until(
            lambda: busbar("get", "bench/psu", "voltage", "-b", broker.url).code == 0,
            "the power supply",
        )
        done = busbar(
            "doctor",
            "--json",
            "-b",
            broker.url,
            BUSBAR_USERNAME="viewer",
            BUSBAR_PASSWORD="x",
        )
    assert done.code == 7
    assert said in found(done, "rights on bench")["failed"]


def test_two_processes_of_one_name_and_one_device_in_two_places_are_found() -> None:
    with Mosquitto() as broker, publisher(broker.port) as client:
        for boot in ("a", "b"):
            client.publish(
                "busbar/b/bridge/status", status(boot), 1, True
            ).wait_for_publish(10)
            client.publish(
                "busbar/b/bridge/state",
                '{"boot":"a","seq":1,"time":0,"values":{},"bad":{}}',
                1,
                True,
            )
        for device in ("one", "two"):
            about = info(device, manufacturer="ACME", model="X", serial="7")
            client.publish(f"busbar/b/{device}/info", about, 1, True).wait_for_publish(
                10
            )
            client.publish(
                f"busbar/b/{device}/status", status("a"), 1, True
            ).wait_for_publish(10)
        done = busbar("doctor", "--json", "-b", broker.url, "--seconds", "0")
    assert done.code == 7
    texts = [
        each["text"] for each in done.json["findings"] if each["check"] == "duplicates"
    ]
    assert texts == [
        "more than one process speaks as the bridge b (a, b)",
        "left over from another process: b/one, b/two",
        "b/one and b/two are the same: ACME X serial 7",
    ]


@pytest.mark.parametrize(
    ("names", "address", "said"),
    [
        (
            ["a/one", "b/two"],
            "tcp::192.168.0.20:5025",
            ("a/one and b/two are the same: tcp::192.168.0.20:5025"),
        ),
        (
            ["a/one", "b/two"],
            "modbus::tcp::plc:502::17",
            ("a/one and b/two are the same: modbus::tcp::plc:502::17"),
        ),
        (
            ["a/one", "a/two"],
            "indi::192.168.0.30:7624",
            ("every bridge is one process, every device has one place"),
        ),
        (
            ["a/one", "b/two"],
            "can::socket::can0",
            ("every bridge is one process, every device has one place"),
        ),
        (
            ["a/one", "b/two"],
            "tcp::127.0.0.1:5025",
            ("every bridge is one process, every device has one place"),
        ),
    ],
)
def test_one_address_in_two_bridges_is_one_device(
    names: list[str], address: str, said: str
) -> None:
    seen = [
        Seen(f"busbar/{name}/info", info(name, address=address).encode(), True, 1, 0.0)
        for name in names
    ]
    seen += [
        Seen(f"busbar/{name[0]}/bridge/status", status("a").encode(), True, 1, 0.0)
        for name in names
    ]
    assert [each.text for each in duplicates(ObservedBus("busbar", seen), {})] == [said]


def test_a_variable_that_nobody_reads_is_a_slip() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    done = busbar("doctor", "--json", "-b", url, BUSBAR_USER="ada")
    assert found(done, "environment") == {"warning": "BUSBAR_USER is read by nobody"}
    assert done.json["findings"][0]["advice"] == "did you mean BUSBAR_USERNAME?"


@pytest.mark.parametrize("name", ["BUSBAR_JSON", "BUSBAR_VERBOSE"])
def test_a_variable_for_an_option_without_one_is_a_slip_too(name: str) -> None:
    assert [each.text for each in variables(["BUSBAR_URL", name])] == [
        f"{name} is read by nobody"
    ]


def test_clocks_that_differ_are_found() -> None:
    assert own_clock(False).state == "warning"
    reply = Reply("b", "bridge", "1", "call/list", True, 1000.0, 0.0)
    states = [
        each.state
        for each in round_trip(
            Asked("b", 2000.0, [(2000.1, reply)], []), "busbar/reply/#"
        )
    ]
    assert states == ["ok", "failed"]
    assert ObservedBus("busbar", []).bridges == []


@pytest.mark.parametrize(
    ("ago", "state", "said"),
    [
        (10.0, "ok", "online, 0 of 0 devices online"),
        (1000.0, "failed", "no sign of life for 1000 s"),
    ],
)
def test_a_bridge_that_only_the_broker_remembers_is_not_online(
    ago: float, state: str, said: str
) -> None:
    snapshot = {"boot": "a", "seq": 1, "time": time.time() - ago}
    payload = json.dumps({**snapshot, "values": {}, "bad": {}})
    seen = [
        Seen("busbar/old/bridge/status", status("a").encode(), True, 1, 0.0),
        Seen("busbar/old/bridge/state", payload.encode(), True, 1, 0.0),
    ]
    found = next(iter(bridges(ObservedBus("busbar", seen))))
    assert (found.state, found.text[: len(said)]) == (state, said)
