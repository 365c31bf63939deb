"""An instrument that nobody here wrote, the thermostat `julabo` of lewis, on a real
broker.

It speaks no SCPI: lines end with a carriage return, answers with a newline more; a
command that it knows is answered by an empty line, any other by silence. The clients
are those of Mosquitto, in both versions of MQTT.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from busbar.testing.fakes import until
from tests.broker import Mosquitto, find, free_port
from tests.process import BridgeProcess

LIMIT = 30.0  # s; generous, only a failure needs it
BATH = "busbar/lab/bath"
NUMBER = count()

CONFIGURATION = r"""
bridge: {{name: lab}}
devices:
  - name: bath
    address: tcp::127.0.0.1:{port}
    timeout: 1
    terminator: "\r"
    acknowledge: true
    identify: VERSION
    errors: null
    clear: null
    properties:
      - {{path: temperature, query: IN_PV_00, every: 0.2, unit: °C, class: temperature}}
      - {{path: setpoint, query: IN_SP_00,
         set: "OUT_SP_00 {{value}}", minimum: 0, maximum: 1000, every: 0.2}}
      - {{path: circulating, query: IN_MODE_05,
         set: "OUT_MODE_05 {{value}}", type: boolean}}
      - {{path: integral, query: IN_PAR_07, set: "OUT_PAR_07 {{value}}", type: integer}}
"""


class Julabo:
    """The process; entered = it accepts connections, left = it is gone.

    We ask it on one connection that stays: lewis dies of a connection that ends after a
    younger one has ended.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        lewis = Path(sys.executable).with_name("lewis")
        protocol = f"julabo-version-1: {{bind_address: 127.0.0.1, port: {self.port}}}"
        self._process = subprocess.Popen(
            [lewis, "julabo", "-p", protocol], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._connection = socket.create_connection(
                    ("127.0.0.1", self.port), timeout=LIMIT
                )
            except OSError:
                time.sleep(0.05)
            else:
                self.ask("VERSION")
                return
        raise RuntimeError(f"lewis does not serve port {self.port}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()

    def ask(self, line: str) -> str:
        """Ask it past the bridge."""
        assert self._connection is not None
        self._connection.sendall(line.encode() + b"\r")
        with self._connection.makefile("rb") as answers:
            return answers.readline().decode().strip()


class Client:
    """The command line clients of Mosquitto, each run to its end."""

    def __init__(self, port: int, version: str) -> None:
        self._options = ["-h", "127.0.0.1", "-p", str(port), "-V", version]
        self._old = version == "mqttv311"

    async def publish(self, topic: str, payload: str) -> None:
        await self._run("mosquitto_pub", "-q", "1", "-t", topic, "-m", payload)

    async def retained(self, topic: str) -> Any:
        """Return what is retained on a topic, None if that does not come soon."""
        out = await self._run("mosquitto_sub", "-t", topic, "-C", "1", "-W", "2")
        return json.loads(out) if out else None

    async def request(
        self, topic: str, argument: str, value: Any, **metadata: Any
    ) -> dict[str, Any]:
        """Return the outcome of a command, which comes on a topic of our own."""
        answer = f"busbar/reply/peers/{next(NUMBER)}"
        if self._old:  # without a Response Topic the payload has to say it
            metadata["_reply"] = answer
        payload = json.dumps({argument: value, **metadata})
        out = await self._run(
            "mosquitto_rr",
            "-t",
            topic,
            "-e",
            answer,
            "-m",
            payload,
            "-W",
            str(int(LIMIT)),
        )
        return dict(json.loads(out))

    async def _run(self, program: str, *arguments: str) -> str:
        command = [find(program), *self._options, *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, timeout=2 * LIMIT, check=False
        )
        assert not done.stderr or b"Timed out" in done.stderr, done.stderr
        return done.stdout.decode()


class Lab:
    """The thermostat, a broker and a bridge between them."""

    def __init__(
        self, julabo: Julabo, broker: Mosquitto, bridge: BridgeProcess
    ) -> None:
        self.julabo, self.broker, self.bridge = julabo, broker, bridge


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("peers")
    with (
        Julabo() as julabo,
        Mosquitto() as broker,
        BridgeProcess(
            CONFIGURATION.format(port=julabo.port), broker.url, folder
        ) as bridge,
    ):
        yield Lab(julabo, broker, bridge)


@pytest.fixture(params=["mqttv311", "mqttv5"])
async def client(lab: Lab, request: pytest.FixtureRequest) -> Client:
    client = Client(lab.broker.port, request.param)
    await until(lambda: is_online(client), "the thermostat online", LIMIT)
    return client


async def is_online(client: Client) -> bool:
    status = await client.retained(f"{BATH}/status")
    return bool(status and status["state"] == "online")


async def test_it_says_who_it_is(client: Client) -> None:
    await until(lambda: has_model(client), "the identity", LIMIT)
    info = await client.retained(f"{BATH}/info")
    assert (info["manufacturer"], info["model"]) == ("JULABO FP50_MH Simulator", "ISIS")
    assert info["properties"]["temperature"]["unit"] == "°C"


async def has_model(client: Client) -> bool:
    return "model" in (await client.retained(f"{BATH}/info") or {})


async def test_its_readings_arrive(client: Client) -> None:
    assert await client.retained(f"{BATH}/state/temperature") == 24.0
    assert await client.retained(f"{BATH}/state/circulating") is False
    assert await client.retained(f"{BATH}/state/integral") == 3
    assert (await client.retained(f"{BATH}/state"))["bad"] == {}


async def test_a_set_point_published_arrives_and_reads_back(
    lab: Lab, client: Client
) -> None:
    for wanted in (30.5, 24.0):
        await client.publish(f"{BATH}/set/setpoint", str(wanted))
        await until(partial(shows, client, wanted), f"a set point of {wanted}", LIMIT)
        assert float(lab.julabo.ask("IN_SP_00")) == wanted


async def shows(client: Client, value: float) -> bool:
    return bool(await client.retained(f"{BATH}/state/setpoint") == value)


async def test_the_outcome_of_a_set_is_what_it_made_of_it(
    lab: Lab, client: Client
) -> None:
    reply = await client.request(f"{BATH}/set/setpoint", "_value", 41.5, _id=7)
    assert (reply["ok"], reply["result"], reply["id"], reply["target"]) == (
        True,
        41.5,
        7,
        "set/setpoint",
    )
    # it takes 0 to 100 and says nothing
    reply = await client.request(f"{BATH}/set/setpoint", "_value", 500)
    assert (reply["ok"], reply["result"]) == (True, 41.5)
    reply = await client.request(f"{BATH}/set/setpoint", "_value", 1001)
    assert (reply["ok"], reply["error"]["code"]) == (False, "out_of_range")
    assert lab.julabo.ask("IN_SP_00") == "41.5"
    reply = await client.request(f"{BATH}/set/setpoint", "_value", 24)
    assert reply["result"] == 24


async def test_every_set_reads_back_its_own_answer(client: Client) -> None:
    """Each command is answered by an empty line, which must not become the answer to
    the next question."""
    for number in range(3, 13):
        reply = await client.request(
            f"{BATH}/set", "integral", number, circulating=bool(number % 2)
        )
        assert reply["ok"], reply
        assert reply["result"] == {"integral": number, "circulating": bool(number % 2)}
    reply = await client.request(f"{BATH}/set", "integral", 3, circulating=False)
    assert reply["ok"], reply


async def test_a_silence_does_not_disturb_the_next_answer(client: Client) -> None:
    for _ in range(2):
        reply = await client.request(f"{BATH}/call/query", "command", "NONSENSE")
        assert (reply["ok"], reply["error"]["code"]) == (False, "timeout")
        assert "NONSENSE" in reply["error"]["message"]
        for command, answer in (("IN_PAR_06", "0.1"), ("IN_SP_01", "100.0")):
            reply = await client.request(f"{BATH}/call/query", "command", command)
            assert reply.get("result") == answer, reply
    assert (await client.retained(f"{BATH}/state"))["values"]["temperature"] == 24.0
    assert (await client.retained(f"{BATH}/status"))["state"] == "online"


async def test_a_write_that_it_does_not_know_has_an_outcome(client: Client) -> None:
    assert (await client.request(f"{BATH}/call/write", "command", "OUT_PAR_06 0.1"))[
        "ok"
    ]
    reply = await client.request(f"{BATH}/call/write", "command", "OUT_PAR_99 1")
    assert (reply["ok"], reply["error"]["code"]) == (False, "timeout")
    assert (await client.request(f"{BATH}/call/query", "command", "IN_PAR_06"))[
        "result"
    ] == "0.1"


@pytest.mark.restarts
async def test_it_goes_and_comes_back(lab: Lab, client: Client) -> None:
    await client.publish(f"{BATH}/set/setpoint", "33")
    await until(lambda: shows(client, 33), "a set point of 33", LIMIT)
    lab.julabo.kill()
    await until(lambda: is_offline(client), "the thermostat offline", LIMIT)
    lab.julabo.start()
    await client.publish(f"{BATH}/call/connect", "{}")
    await until(lambda: is_online(client), "the thermostat online", LIMIT)
    await until(lambda: shows(client, 24), "the set point that it starts with", LIMIT)
    assert (await client.request(f"{BATH}/call/query", "command", "IN_SP_00"))[
        "result"
    ] == "24.0"


async def is_offline(client: Client) -> bool:
    status = await client.retained(f"{BATH}/status")
    return bool(status["state"] == "offline" and status["reason"]["code"] == "link")
