"""What a client and the command line know of a broker that retains much, behind slow
and odd links: everything, or they say that it is a part. The oracle is the retained
set."""

import asyncio
import itertools
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar.cli import exits
from busbar.client import Client
from busbar.net.endpoint import Endpoint
from busbar.testing.fakes import until
from tests import npm
from tests.broker import Mosquitto, find, free_port
from tests.cli.command import Done, busbar
from tests.crowd import crowd, names, retain
from tests.process import BENCH, BridgeProcess
from tests.proxy import Proxy
from tests.watcher import Watcher
from tests.watcher import retained as found

SLOW = 100e3  # bytes/s
VIEWER = "user viewer\ntopic read busbar/#\n"


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def many() -> dict[str, bytes]:
    """Return 2020 devices, 54 060 topics, of now."""
    return crowd(20, 100, values=24)


def few_long() -> dict[str, bytes]:
    """Return 106 devices of which every info is longer than the link's buffers.

    4 s at SLOW; of now.
    """
    return crowd(2, 52, padding=3000)


@pytest.fixture(scope="module")
def crowded_broker() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.fixture
def crowded(crowded_broker: Mosquitto) -> Mosquitto:
    """A broker with many devices; what is retained is believed while it is new."""
    retain(crowded_broker.port, many())
    return crowded_broker


@pytest.fixture
def narrow() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        retain(broker.port, few_long())
        yield broker


@asynccontextmanager
async def slow(broker: Mosquitto) -> AsyncIterator[Proxy]:
    async with Proxy(broker.port, buffer=4096) as proxy:
        proxy.downstream.rate = SLOW
        yield proxy


async def run(*arguments: str) -> Done:
    """Run the command beside a proxy in this loop."""
    return await asyncio.to_thread(busbar, *arguments)


async def test_two_thousand_devices_are_known_and_good_when_the_client_is_entered(
    crowded: Mosquitto, protocol: str
) -> None:
    async with Client(Endpoint(crowded.url, protocol=protocol)) as bus:
        assert bus.incomplete == ""
        assert list(bus.devices()) == names(many())
        assert {device.stale for device in bus.devices().values()} == {None}
        assert bus.device("b19/d0099")["v0"] == 99


def test_ls_of_two_thousand_devices_has_a_row_for_each(crowded: Mosquitto) -> None:
    done = busbar("ls", "--json", "-b", crowded.url)
    assert (done.code, done.err) == (0, "")
    assert [row["device"] for row in done.json] == names(many())
    assert {row["state"] for row in done.json} == {"online"}


def test_doctor_asks_twenty_bridges_that_are_silent_at_once(crowded: Mosquitto) -> None:
    done = busbar("doctor", "--json", "-b", crowded.url, "--seconds", "0")
    findings = {each["check"]: each["text"] for each in done.json["findings"]}
    for number in range(20):
        assert findings[f"bridge b{number}"] == "online, 100 of 100 devices online"
        assert "no outcome of a command" in findings[f"rights on b{number}"]


async def test_behind_a_slow_link_ls_has_every_device(narrow: Mosquitto) -> None:
    async with slow(narrow) as proxy:
        done = await run("ls", "--json", "-b", proxy.url)
    assert (done.code, done.err) == (0, "")
    assert [row["device"] for row in done.json] == names(few_long())
    assert {row["state"] for row in done.json} == {"online"}


@pytest.mark.parametrize(
    "command",
    [
        ["ls"],
        ["get", "b1/d0051"],
        ["show", "b1/d0051"],
        ["watch", "*/*", "--for", "0"],
        ["events", "b1", "--for", "0"],
    ],
    ids=lambda words: words[0],
)
async def test_what_ends_before_all_has_come_says_so_and_is_no_success(
    narrow: Mosquitto, command: list[str]
) -> None:
    async with slow(narrow) as proxy:
        proxy.downstream.rate = 1e3
        done = await run("--json", *command, "--timeout", "0.5", "-b", proxy.url)
    last = json.loads(done.err.splitlines()[-1])
    assert last["error"]["code"] == "incomplete"
    assert last["exit"] == done.code == exits.INCOMPLETE


async def test_doctor_gives_no_advice_on_a_part(narrow: Mosquitto) -> None:
    async with slow(narrow) as proxy:
        proxy.downstream.rate = 1e3
        done = await run("doctor", "--json", "--timeout", "0.5", "-b", proxy.url)
    assert done.code == exits.FOUND
    checks = [each["check"] for each in done.json["findings"]]
    assert checks[-1] == "picture"
    assert "bridges" not in checks
    assert done.json["findings"][-1]["text"].startswith("incomplete: ")


async def test_who_may_not_publish_waits_while_bytes_of_a_long_message_come(
    tmp_path: Path, protocol: str
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite #\n\n{VIEWER}")
    retained = crowd(1, 2, padding=150_000)  # 1.5 s for each info
    with Mosquitto(f"acl_file {acl}") as broker:
        retain(broker.port, retained)
        async with slow(broker) as proxy:
            endpoint = Endpoint(
                proxy.url, username="viewer", password="x", protocol=protocol
            )
            async with Client(endpoint) as bus:
                assert bus.incomplete == ""
                assert list(bus.devices()) == names(retained)
                assert {each.stale for each in bus.devices().values()} == {None}


# Brokers that are not Mosquitto.


def published(packet: bytes) -> str | None:
    """Return the topic of a PUBLISH that is retained, None for another packet."""
    if packet[0] & 0xF1 != 0x31:
        return None
    start = 2
    while packet[start - 1] & 0x80:
        start += 1
    length = int.from_bytes(packet[start : start + 2])
    return packet[start + 2 : start + 2 + length].decode()


class LikeRabbit:
    """Lets retained messages pass where a subscription (3.1.1) names their topic."""

    def __init__(self) -> None:
        self._exact = b""

    def up(self, packet: bytes) -> bytes:
        if packet[0] == 0x10:
            self._exact = b""  # of the newest connection
        elif packet[0] == 0x82:
            self._exact += packet
        return packet

    def down(self, packet: bytes) -> bytes:
        topic = published(packet)
        if topic is None or topic.encode() in self._exact:
            return packet
        return b""


async def test_a_broker_without_retained_messages_for_wildcards_is_named() -> None:
    with Mosquitto() as broker:
        retain(broker.port, crowd(1, 3))
        async with Proxy(broker.port, packets=True) as proxy:
            rabbit = LikeRabbit()
            proxy.upstream.change, proxy.downstream.change = rabbit.up, rabbit.down
            there = ["-b", proxy.url, "--protocol", "3.1.1"]
            for pattern in ("*/*", "b0"):
                listed = await run("ls", "--json", pattern, *there)
                assert (listed.code, listed.out) == (exits.INCOMPLETE, "")
                assert "wildcards (RabbitMQ 3 does not)" in listed.err
            found = await run("doctor", "--json", "--seconds", "0", *there)
            assert found.code == exits.FOUND
            findings = {each["check"]: each for each in found.json["findings"]}
            assert findings["retained"]["state"] == "failed"
            assert "wildcards (RabbitMQ 3 does not)" in findings["retained"]["text"]
            exact = await run("get", "b0/d0002", "v0", *there)
            assert (exact.code, exact.out) == (0, "2\n")


class Forgetful:
    """Drops each third retained message when it passes for the first time."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def down(self, packet: bytes) -> bytes:
        topic = published(packet)
        if topic is None or topic in self._seen:
            return packet
        self._seen.add(topic)
        return b"" if len(self._seen) % 3 == 0 else packet


async def test_what_a_broker_drops_of_a_device_is_asked_for_again(
    protocol: str,
) -> None:
    retained = crowd(1, 20)
    with Mosquitto() as broker:
        retain(broker.port, retained)
        async with Proxy(broker.port, packets=True) as proxy:
            proxy.downstream.change = Forgetful().down
            async with Client(Endpoint(proxy.url, protocol=protocol)) as bus:
                assert bus.incomplete == ""
                assert list(bus.devices()) == names(retained)
                assert {each.stale for each in bus.devices().values()} == {None}


async def test_a_bridge_that_counts_more_devices_than_come_is_incomplete() -> None:
    retained = crowd(1, 60)
    for channel in ("status", "info", "state"):
        del retained[f"busbar/b0/d0059/{channel}"]
    with Mosquitto() as broker:
        retain(broker.port, retained)
        done = await run("ls", "-b", broker.url)
    assert done.code == exits.INCOMPLETE
    assert "incomplete: the bridge b0 counts more devices" in done.err


def quota_exceeded(packet: bytes) -> bytes:
    """End the session behind the answer to a subscription (MQTT 5, 3.14)."""
    return packet + b"\xe0\x02\x97\x00" if packet[0] == 0x90 else packet


@pytest.mark.parametrize("command", [["ls"], ["get", "b0/d0000"]], ids=" ".join)
async def test_a_session_that_ends_just_after_it_began_is_the_brokers_business(
    command: list[str],
) -> None:
    with Mosquitto() as broker:
        retain(broker.port, crowd(1, 1))
        async with Proxy(broker.port, packets=True) as proxy:
            proxy.downstream.change = quota_exceeded
            done = await run(*command, "-b", proxy.url)
    assert (done.code, done.out) == (exits.BROKER, "")
    assert "ended the session as soon as it had begun: " in done.err
    assert "Quota exceeded" in done.err


AEDES = """
const { Aedes } = require("aedes");
Aedes.createBroker().then((broker) => {
  const server = require("node:net").createServer(broker.handle);
  server.listen(Number(process.argv[1]), "127.0.0.1", () => console.log("ready"));
});
"""


@pytest.fixture(scope="module")
def aedes() -> Iterator[int]:
    """The port of a broker whose retained messages come behind later ones."""
    port = free_port()
    process = subprocess.Popen(
        [find("node"), "-e", AEDES, str(port)],
        cwd=npm.modules("aedes").parent,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield port
    finally:
        process.stdout.close()
        process.kill()
        process.wait()


def test_aedes_is_named_and_nothing_is_missing(aedes: int) -> None:
    retained = crowd(2, 50)
    retain(aedes, retained)
    broker = ["-b", f"mqtt://127.0.0.1:{aedes}", "--protocol", "3.1.1"]
    for _ in range(3):
        done = busbar("ls", "--json", *broker)
        assert done.code == 0
        assert [row["device"] for row in done.json] == names(retained)
        assert "aedes" in done.err
        assert busbar("get", "b1/d0049", "v0", *broker).out == "49\n"
    done = busbar("doctor", "--json", "--seconds", "0", *broker)
    findings = {each["check"]: each["text"] for each in done.json["findings"]}
    assert "aedes" in findings["order"]


async def test_a_bridge_finds_all_that_one_before_it_left_behind_a_slow_link(
    tmp_path: Path,
) -> None:
    """The old devices are longer than the quiet, and than five seconds together."""
    left = crowd(1, 4, padding=150_000)
    retained = {
        topic.replace("/b0/", "/bench/"): payload
        for topic, payload in left.items()
        if "/bridge/" not in topic
    }
    with Mosquitto() as broker:
        retain(broker.port, retained)
        async with slow(broker) as proxy:
            silent = BENCH.format(psu=free_port())
            with BridgeProcess(silent, proxy.url, tmp_path):
                await until(
                    lambda: _gone(broker, retained), "the end of the left-overs"
                )


async def _gone(broker: Mosquitto, topics: Mapping[str, bytes]) -> bool:
    return not topics.keys() & set(await found(broker.port))


async def test_who_may_not_publish_does_not_wait_for_silence_on_a_busy_bus(
    tmp_path: Path, protocol: str
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite #\n\n{VIEWER}")
    retained = crowd(1, 2)
    with Mosquitto(f"acl_file {acl}") as broker:
        retain(broker.port, retained)
        async with Watcher(broker.port, "busbar/none") as other:

            async def change() -> None:
                for seq in itertools.count(1):
                    changed = [{"path": "v0", "value": seq, "time": time.time()}]
                    event = {"boot": "b1", "seq": seq, "time": time.time()}
                    payload = json.dumps({**event, "changes": changed})
                    other.publish("busbar/b0/d0000/event/change", payload)
                    await asyncio.sleep(0.05)

            changing = asyncio.create_task(change())
            endpoint = Endpoint(
                broker.url, username="viewer", password="x", protocol=protocol
            )
            async with Client(endpoint, patience=20) as bus:
                assert bus.incomplete == ""
                assert list(bus.devices()) == names(retained)
            changing.cancel()
