"""Recordings: every byte in order, readable by other programs, played where asked."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from mcap.reader import make_reader

from busbar.testing.fakes import until as soon
from tests.broker import Mosquitto, free_port
from tests.cli.command import Bench, Done, busbar, ended, until
from tests.watcher import Watcher


def recorded(file: Path) -> list[tuple[str, bytes]]:
    with file.open("rb") as stream:
        return [
            (channel.topic, message.data)
            for _, channel, message in make_reader(stream).iter_messages()
        ]


@pytest.fixture(scope="module")
def tape(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tape") / "bench.mcap"
    process = bench.process("record", str(file), "-n", "120", "--json")
    try:
        until(
            lambda: (
                bench("set", "bench/psu", "output", "on").code == 0
                and process.poll() is not None
            ),
            "the end",
        )
        done = ended(process)
    finally:
        process.kill()
    assert (done.code, done.json["messages"]) == (0, 120)
    return file


def test_other_programs_find_times_topics_and_the_schemas_of_the_contract(
    tape: Path,
) -> None:
    with tape.open("rb") as stream:
        summary = make_reader(stream).get_summary()
        assert summary is not None
        times = [
            message.log_time
            for _, _, message in make_reader(stream).iter_messages(log_time_order=False)
        ]
    assert times == sorted(set(times))
    assert summary.statistics is not None
    assert summary.statistics.message_count == 120
    named = {
        each.topic: summary.schemas[each.schema_id]
        for each in summary.channels.values()
        if each.schema_id
    }
    assert named["busbar/bench/psu/state"].name == "busbar.state"
    assert named["busbar/bench/psu/event/change"].name == "busbar.event-change"
    assert named["busbar/bench/psu/set/output"].name == "busbar.set-property"
    schema = named["busbar/bench/psu/state"]
    assert schema.encoding == "jsonschema"
    assert json.loads(schema.data)["title"] == "State of a device"


async def test_a_replay_gives_equal_bytes_in_order_under_another_root(
    tape: Path,
) -> None:
    wanted = [
        (topic.replace("busbar/", "test/copy/", 1), data)
        for topic, data in recorded(tape)
    ]
    with Mosquitto() as broker:
        async with Watcher(broker.port, "test/copy/#") as watcher:
            done = await in_thread(
                "replay",
                str(tape),
                "-b",
                broker.url,
                "--root",
                "test/copy",
                "--speed",
                "0",
                "--commands",
            )
            assert (done.code, done.out) == (0, "")
            await watcher_has(watcher, len(wanted))
            assert [(each.topic, each.payload) for each in watcher.seen] == wanted


async def test_a_replay_leaves_commands_out_and_keeps_time(tape: Path) -> None:
    wanted = [
        each
        for each in recorded(tape)
        if "/set/" not in each[0] and "/call/" not in each[0]
    ]
    with Mosquitto() as broker:
        async with Watcher(broker.port) as watcher:
            done = await in_thread(
                "replay", str(tape), "-b", broker.url, "--speed", "50", "--json"
            )
            assert json.loads(done.out)["messages"] == len(wanted)
            await watcher_has(watcher, len(wanted))
            assert [(each.topic, each.payload) for each in watcher.seen] == wanted
        listed = await in_thread("ls", "-b", broker.url, "--json")
        assert {row["device"] for row in listed.json} == {"bench/bridge", "bench/psu"}
        cleaned = await in_thread(
            "replay", str(tape), "-b", broker.url, "--speed", "0", "--clean", "--force"
        )
        assert cleaned.code == 0
        assert (await in_thread("ls", "-b", broker.url, "--json")).json == []


def test_a_replayed_bridge_can_be_cleaned_away_though_it_says_online(
    tape: Path,
) -> None:
    with Mosquitto() as broker:
        there = ("-b", broker.url, "--root", "copy")
        assert busbar("replay", str(tape), *there, "--speed", "0").code == 0
        asked = busbar("clean", "bench", *there)
        assert asked.code == 5
        assert "busbar clean --gone bench" in asked.err
        assert busbar("clean", "--gone", "bench", *there).code == 0
        assert busbar("ls", *there, "--json").json == []


def test_filters_that_overlap_record_each_message_once(
    bench: Bench, tmp_path: Path
) -> None:
    file = tmp_path / "once.mcap"
    assert bench("record", str(file), "bench/*", "bench/psu", "-n", "30").code == 0
    kept = [
        topic for topic, _ in recorded(file) if topic.endswith(("/info", "/status"))
    ]
    assert sorted(kept) == [
        f"busbar/bench/{name}/{kind}"
        for name in ("bridge", "psu")
        for kind in ("info", "status")
    ]


def test_a_living_bridge_is_not_played_over(bench: Bench, tape: Path) -> None:
    done = bench("replay", str(tape), "--speed", "0")
    assert done.code == 3
    assert "the bridge bench is online under busbar" in done.err


def test_a_recording_whose_writer_was_killed_is_played_as_far_as_it_goes(
    tape: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(tape.read_bytes()[: tape.stat().st_size // 2])
    with Mosquitto() as broker:
        done = busbar("replay", str(cut), "-b", broker.url, "--speed", "0", "--json")
    assert done.code == 0
    assert done.json["complete"] is False
    assert "was not finished" in done.err


def test_files_that_are_there_or_are_none_are_refused(
    bench: Bench, tape: Path, tmp_path: Path
) -> None:
    before = tape.read_bytes()
    done = bench("record", str(tape), "--for", "0")
    assert (done.code, tape.read_bytes()) == (2, before)
    assert "--force writes over it" in done.err
    other = tmp_path / "notes.txt"
    other.write_text("no recording at all")
    assert "is no recording" in bench("replay", str(other)).err


def test_a_recording_is_for_its_owner_alone_also_over_an_older_file(
    bench: Bench, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    target.chmod(0o644)
    older = tmp_path / "older.mcap"
    older.write_text("")
    older.chmod(0o666)
    link = tmp_path / "link.mcap"
    link.symlink_to(target)
    umask = os.umask(0)
    try:
        for file in (tmp_path / "new.mcap", older, link):
            assert bench("record", str(file), "--for", "0", "--force").code == 0
            assert stat.filemode(file.lstat().st_mode) == "-rw-------"
    finally:
        os.umask(umask)
    assert target.read_text() == "mine"


def test_without_a_broker_there_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "none.mcap"
    done = busbar("record", str(file), "-b", f"mqtt://127.0.0.1:{free_port()}")
    assert (done.code, done.err.count("\n"), file.exists()) == (6, 1, False)


async def in_thread(*arguments: str) -> Done:
    return await asyncio.to_thread(busbar, *arguments)


async def watcher_has(watcher: Watcher, count: int) -> None:
    await soon(lambda: len(watcher.seen) >= count, f"{count} messages")
