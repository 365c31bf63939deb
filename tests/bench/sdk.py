"""The client library: changes into callbacks, calls, memory; against bare paho."""

import json
from functools import partial
from typing import Any

from busbar.contract import messages
from busbar.contract.messages import (
    Change,
    ChangeEvent,
    Info,
    PropertyInfo,
    State,
    Status,
)
from tests.bench.client import connected
from tests.bench.commands import Caller, payload
from tests.bench.figures import Budget, Row, compare, in_turns
from tests.bench.machine import Setup
from tests.bench.processes import finished, python, ready, started
from tests.bench.reader import BASE, BURST, WINDOW
from tests.bench.server import COMMANDS, REPLIES
from tests.broker import Mosquitto

BOOT, NOW = "9f2c61aa", 1_700_000_000.0
MANY = 10_000  # properties
AGAINST = "bare paho, json"


def run(setup: Setup) -> list[Row]:
    """Return rows for reading, calling and memory."""
    count = BURST * (2 if setup.quick else 10)
    with Mosquitto("max_queued_messages 2000") as broker:
        changes = in_turns(
            setup.repetitions,
            {role: partial(_read, role, broker, count) for role in ("sdk", "stock")},
        )
        calls = in_turns(
            setup.repetitions,
            {
                "sdk": partial(_call, broker, count),
                "stock": partial(_call_stock, broker, count),
            },
        )
        memory = in_turns(
            setup.repetitions,
            {
                role: partial(_memory, role, broker)
                for role in ("sdk_memory", "stock_memory")
            },
        )
    budget = Budget(2.0, ratio=True)
    return [
        _row(
            "CPU per change into a callback",
            "us",
            "cpu",
            1e6,
            changes,
            budget=budget,
            short=True,
        ),
        _row(
            (f"changes per second into a callback, bursts of {BURST}"),
            "1/s",
            "rate",
            1,
            changes,
        ),
        _row(
            f"calls per second, {WINDOW} under way", "1/s", "rate", 1, calls, short=True
        ),
        compare(
            f"memory of a device of {MANY} properties",
            "MB",
            [each["grown"] / 1e6 for each in memory["sdk_memory"]],
            [each["grown"] / 1e6 for each in memory["stock_memory"]],
            "info and state as dicts",
        ),
    ]


def _row(
    what: str,
    unit: str,
    key: str,
    scale: float,
    found: dict[str, list[Any]],
    **more: Any,
) -> Row:
    ours, theirs = (
        [each[key] * scale for each in found[role]] for role in ("sdk", "stock")
    )
    return compare(what, unit, ours, theirs, AGAINST, **more)


def _read(role: str, broker: Mosquitto, count: int) -> dict[str, float]:
    with connected(broker.port) as client:
        _device(client, 100)
        with started(python("reader", role, broker.url, str(count))) as reader:
            ready(reader)
            assert reader.stdout is not None
            for burst in range(count // BURST):
                for number in range(BURST):
                    client.publish(
                        f"{BASE}/event/change", _change(burst * BURST + number + 1), 1
                    )
                assert reader.stdout.readline().strip() == "burst"
            return dict(json.loads(reader.stdout.readline()))


def _change(seq: int) -> bytes:
    return messages.encode(
        ChangeEvent(
            BOOT, seq, NOW, [Change(f"group/value{seq % 100}", NOW, float(seq))]
        )
    )


def _call(broker: Mosquitto, count: int) -> dict[str, float]:
    with started(python("server", "bridge", broker.url, "0")) as server:
        ready(server)
        with started(python("reader", "calls", broker.url, str(count))) as caller:
            return dict(finished(caller))


def _call_stock(broker: Mosquitto, count: int) -> dict[str, float]:
    with started(python("server", "bridge", broker.url, "0")) as server:
        ready(server)
        caller = Caller()
        with connected(broker.port, caller.on_message) as client:
            client.subscribe(REPLIES, 1)
            caller.call = lambda number: client.publish(COMMANDS, payload(number), 1)
            return {"rate": count / caller.run(count, WINDOW)}


def _memory(role: str, broker: Mosquitto) -> dict[str, float]:
    with connected(broker.port) as client:
        _device(client, MANY)
        with started(python("reader", role, broker.url, "0")) as reader:
            return dict(finished(reader))


def _device(client: Any, properties: int) -> None:
    """Say what a bridge would say of a device that has just begun."""
    values = {f"group/value{number}": 0.0 for number in range(properties)}
    about = PropertyInfo({"type": "number"}, "r", unit="V")
    info = Info(
        1,
        "bench",
        "device0",
        "bench",
        1,
        dict.fromkeys(values, about),
        {},
        {},
        {},
        BOOT,
    )
    status, own = Status("online", NOW, BOOT, 1, 0), BASE.replace("device0", "bridge")
    retained = {
        f"{BASE}/info": info,
        f"{BASE}/state": State(BOOT, 0, NOW, values, {}),
        f"{BASE}/status": status,
        f"{own}/info": Info(1, "bench", "bridge", "bridge", 1, {}, {}, {}, {}, BOOT),
        f"{own}/state": State(BOOT, 0, NOW, {}, {}),
        f"{own}/status": status,
    }
    for topic, message in retained.items():
        client.publish(topic, messages.encode(message), 1, True).wait_for_publish(10)
