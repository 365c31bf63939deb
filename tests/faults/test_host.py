"""The machine under the bridge: its clock, its disk, its descriptors, its signals."""

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from busbar.runtime.host import clock_synchronised
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BRIDGE, TOY, Reader, lab, live
from tests.process import BridgeProcess
from tests.toy import Toy, service

PSU, BENCH = "busbar/bench/psu", "busbar/bench/bridge"
CONFIGURATION = """
bridge: {{name: bench, folder: blobs}}
broker: {{keepalive: 5, max_message: 14KiB}}
devices:
  - name: psu
    address: tcp::127.0.0.1:{psu}
    timeout: 2
    properties:
      - {{path: setpoint/voltage, query: "SOUR1:VOLT?", \
set: "SOUR1:VOLT {{value}}", every: 0.2}}
"""
HOUR = 3600.0
STOPPED = float(os.environ.get("BUSBAR_FAULTS_STOPPED", "0"))  # s; a minute outside CI
POINTS = 4096
TRACE = POINTS * 4  # bytes of the block


class Bench:
    """A simulated supply, the SCPI bridge as a process, and a reader."""

    def __init__(
        self, simulator: Simulator, process: BridgeProcess, reader: Reader, folder: Path
    ) -> None:
        self.psu, self.process, self.reader, self.folder = (
            simulator.psu,
            process,
            reader,
            folder,
        )

    @property
    def pid(self) -> int:
        assert self.process._process is not None
        return self.process._process.pid

    async def until(self, condition: Any, what: str, limit: float = 60.0) -> None:
        await until(
            lambda: self.process.returncode is not None or condition(), what, limit
        )
        assert self.process.returncode is None, self.process.log

    def online(self) -> bool:
        return (
            self.reader.online(PSU)
            and self.reader.value("setpoint/voltage", PSU) is not None
        )

    async def call(self, command: str, payload: str) -> dict[str, Any]:
        return await self.reader.call(f"{PSU}/call/{command}", payload)


@asynccontextmanager
async def bench(broker: Mosquitto, folder: Path) -> AsyncIterator[Bench]:
    (folder / "blobs").mkdir()
    async with Simulator() as simulator, Reader(broker.port) as reader:
        with BridgeProcess(
            CONFIGURATION.format(psu=simulator.psu.port), broker.url, folder
        ) as process:
            it = Bench(simulator, process, reader, folder / "blobs")
            await it.until(it.online, "the bridge and its device online")
            yield it


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_wall_clock_stepped_by_an_hour_moves_stamps_and_nothing_else(
    broker: Mosquitto, step: float, record: Record
) -> None:
    async with lab(broker, synchronised=False) as it:
        lease = (await it.reader.call(f"{TOY}/call/lock", '{"ttl": 30}'))["result"][
            "lease"
        ]
        it.live.clock.step_wall = step
        await it.live.pass_time(20)
        assert (await it.reader.call(f"{TOY}/call/echo", "locked out"))["error"][
            "code"
        ] == "locked"
        sent = json.dumps({"text": "mine", "_lease": lease, "_sent": time.time()})
        assert (await it.reader.call(f"{TOY}/call/echo", sent))["ok"]
        await it.live.pass_time(11)
        assert (await it.reader.call(f"{TOY}/call/echo", "free again"))["ok"]
        it.proxy.cut()
        await it.live.until(
            lambda: it.live.reconnects == 1 and it.live.bridge.connected.is_set(),
            "a reconnect",
        )
        before = len(it.reader.on(f"{TOY}/state"))
        await it.live.pass_time(62)
        heartbeats = len(it.reader.on(f"{TOY}/state")) - before
        assert heartbeats >= 1
        assert it.reader.gaps == it.live.dropped == 0
        assert it.reader.say(f"{TOY}/state")["bad"] == {}
        record(
            f"the wall clock jumps by {step / HOUR:+.0f} h",
            (
                "locks, ttl and heartbeats are on the monotonic clock; nothing goes "
                "stale, nothing is lost"
            ),
            f"a lock of 30 s held after 20 s and free after 31 s, {heartbeats} "
            f"heartbeat in a minute, 0 changes lost, "
            "0 false duplicates",
        )


async def test_a_bridge_whose_clock_was_set_back_is_no_duplicate_of_its_predecessor(
    broker: Mosquitto, record: Record
) -> None:
    async with Reader(broker.port) as reader:
        async with live(service(Toy()), broker.url):
            await until(reader.online, "the first")
        async with live(service(Toy()), broker.url, step=-HOUR) as one:
            await one.until(reader.online, "the second")
            broker.restart()
            await one.until(
                lambda: one.reconnects == 1 and one.bridge.connected.is_set(),
                "a reconnect",
            )
            await one.until(
                lambda: (
                    (reader.say(f"{BRIDGE}/status") or {}).get("boot")
                    == one.bridge.boot
                ),
                "its status",
            )
            record(
                "a bridge starts an hour before its predecessor ended, by its clock",
                "it is no duplicate",
                "online, and again after a reconnect",
            )


async def test_two_large_blobs_of_the_same_millisecond_are_two_files(
    broker: Mosquitto, tmp_path: Path, record: Record
) -> None:
    configuration = (
        f"bridge: {{name: lab, folder: {tmp_path}}}\nbroker: {{max_message: 20000}}\n"
    )
    async with lab(broker, configuration) as it:
        count = 20
        for number in range(count):
            last = it.outlet.blob("picture", bytes([number]) * 30_000, "image/png")
            await asyncio.sleep(0)
        await last  # they are written one after the other
        await it.live.until(lambda: it.live.quiet, "quiet")
        contents = beginnings(tmp_path)
        assert contents == {bytes([number]) for number in range(count)}
        record(
            f"{count} blobs for the disk at once",
            "each has its own file, whatever the clock says",
            f"{len(contents)} files for {count} blobs",
        )


def beginnings(folder: Path) -> set[bytes]:
    return {file.read_bytes()[:1] for file in folder.iterdir()}


async def test_a_full_disk_costs_the_blob_is_said_and_counted_and_leaves_no_half_file(
    broker: Mosquitto, tmp_path: Path, record: Record
) -> None:
    async with bench(broker, tmp_path) as it:
        await it.call("write", f"TRAC1:POIN {POINTS}")
        trace = '{"command": "TRAC1:DATA?", "blob": "trace"}'
        with limited(it.pid, resource.RLIMIT_FSIZE, TRACE // 2):
            for _ in range(3):
                failed = await it.call("query_binary", trace)
                assert failed["error"]["code"] == "too_large"
                assert "File too large" in failed["error"]["message"]
            await it.until(lambda: lost_blobs(it.reader), "the complaint")
            await it.until(lambda: it.reader.value("trace", PSU), "the property")
            assert it.reader.value("trace", PSU)["file"] is None
            assert (await it.call("query", "*IDN?"))["ok"]
            left = [file.stat().st_size for file in it.folder.iterdir()]
        saved = (await it.call("query_binary", trace))["result"]["file"]
        await it.until(lambda: it.reader.value("trace", PSU)["file"], "the file")
        assert (it.folder / saved).stat().st_size == TRACE
        await it.reader.call(f"{BENCH}/call/refresh", "{}")
        await it.until(lambda: it.reader.value("dropped", BENCH) == 3, "the count")
        assert left == []
        record(
            "the disk is full for 3 blobs (file size limited)",
            (
                "each command fails with `too_large`, each blob is counted and "
                "logged and bad, the bridge serves; the next one is saved when there "
                "is room"
            ),
            (
                f"{it.reader.value('dropped', BENCH)} dropped = 3 missing, {len(left)} "
                f"half files left, the 4th saved"
            ),
        )


def lost_blobs(reader: Reader) -> list[str]:
    return [
        m
        for each in reader.on(f"{BENCH}/event/log")
        if "is lost" in (m := each.json["message"])
    ]


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    """Lower a limit of a process for a while."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


async def test_without_descriptors_it_waits_and_comes_back_when_there_are_some(
    broker: Mosquitto, tmp_path: Path, record: Record
) -> None:
    async with bench(broker, tmp_path) as it:
        spent, began = cpu(it.pid), time.monotonic()
        with limited(it.pid, resource.RLIMIT_NOFILE, 3):
            broker.restart()
            it.psu.drop()
            await it.until(
                lambda: it.process.log.count("Too many open files") >= 2,
                "both links without descriptors",
            )
            await asyncio.sleep(1)  # long enough for a busy loop to show
            attempts = it.process.log.count("Too many open files")
        spent, took = cpu(it.pid) - spent, time.monotonic() - began
        assert spent < took / 2, "it does not wait between attempts"
        mark = len(it.reader.seen)
        await it.until(
            lambda: len(it.reader.seen) > mark and it.online(), "both links back"
        )
        assert (await it.call("query", "*IDN?"))["ok"]
        record(
            "no file descriptors left, broker and instrument hang up",
            "both links are tried again at a pace; back when there are descriptors",
            (
                f"{attempts} attempts, {spent:.1f} s of CPU in {took:.0f} s, both "
                f"back by "
                f"themselves"
            ),
        )


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_without_descriptors_open_links_are_served_and_the_bridge_stays_online(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await it.live.pass_time(25)
            it.outlet.values({"level": 5.0})
            await it.live.until(lambda: it.reader.value("level") == 5.0, "the value")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        statuses = {each.json["state"] for each in it.reader.on(f"{BRIDGE}/status")}
        assert statuses == {"online"}
        record(
            "no file descriptors left, links open",
            "what is open goes on",
            "values and the bridge's own state for 25 s (virtual), never offline",
        )


async def test_a_bridge_killed_during_a_command_is_declared_gone_and_starts_clean(
    broker: Mosquitto, tmp_path: Path, record: Record
) -> None:
    async with bench(broker, tmp_path) as it:
        boot = it.reader.say(f"{BENCH}/status")["boot"]
        it.psu.slow = 1.5
        it.reader.publish(
            f"{PSU}/call/query", ('{"command": "*OPT?", "_id": "killed-1"}')
        )
        await it.until(lambda: "*OPT?" in it.psu.lines, "the command at the instrument")
        began = time.monotonic()
        it.process.signal(signal.SIGKILL)
        await until(
            lambda: it.reader.say(f"{BENCH}/status")["state"] == "offline", "the will"
        )
        took = time.monotonic() - began
        assert it.reader.say(f"{BENCH}/status")["boot"] == boot
        it.psu.slow = 0.0
        it.process.start()
        await it.until(
            lambda: it.reader.say(f"{BENCH}/status")["boot"] != boot and it.online(),
            "the new process",
        )
        assert (await it.call("query", "*IDN?"))["ok"]
        assert not [
            each
            for each in it.reader.on(f"{PSU}/reply")
            if each.json["id"] == "killed-1"
        ]
        assert list(it.psu.lines).count("*OPT?") == 1
        record(
            "SIGKILL during a command, then started again",
            "the will says so with this boot; the command is not run again",
            (
                f"will after {took:.1f} s, 1 outcome missing = 1 change of `boot`, 1 "
                f"run, "
                f"online again by itself"
            ),
        )


@pytest.mark.timeout(120 + 2 * STOPPED)
async def test_a_bridge_that_was_stopped_longer_than_its_keepalive_resumes(
    broker: Mosquitto, tmp_path: Path, record: Record
) -> None:
    async with bench(broker, tmp_path) as it:
        it.process.signal(signal.SIGSTOP)
        began = time.monotonic()
        late = {"_value": 29, "_ttl": 0.5, "_sent": time.time(), "_id": "late-0001"}
        it.reader.publish(f"{PSU}/set/setpoint/voltage", json.dumps(late))
        it.psu.device.channels[0].voltage = 6.0
        await until(
            lambda: it.reader.say(f"{BENCH}/status")["state"] == "offline",
            "the will",
            60,
        )
        await until(
            lambda: time.monotonic() - began >= STOPPED,
            "the end of the stop",
            60 + STOPPED,
        )
        stopped = time.monotonic() - began
        it.process.signal(signal.SIGCONT)
        began = time.monotonic()
        await it.until(it.online, "online again")
        took = time.monotonic() - began
        assert (await it.call("query", "*IDN?"))["ok"]
        answer = outcome(it.reader, "late-0001")
        ran = [line for line in it.psu.lines if "29" in line]
        if clock_synchronised() or answer is None:
            assert not ran
            await it.until(
                lambda: it.reader.value("setpoint/voltage", PSU) == 6.0,
                "the newest value",
            )
        said = (
            "never delivered"
            if answer is None
            else answer.get("error", {}).get("code", "run")
        )
        clock = "" if clock_synchronised() else " (the clock is not synchronised here)"
        record(
            f"SIGSTOP for {stopped:.0f} s with a keepalive of 5 s, then SIGCONT",
            (
                "gone for readers meanwhile, back by itself; by a right clock `_sent` "
                "keeps a command from running late"
            ),
            (
                f"online again after {took:.1f} s, the command sent meanwhile: "
                f"{said}{clock}"
            ),
        )


def outcome(reader: Reader, id_: str) -> dict[str, Any] | None:
    return next(
        (each.json for each in reader.on(f"{PSU}/reply") if each.json["id"] == id_),
        None,
    )
