"""A recording that is cut or damaged is read as far as it goes, and what is none is
refused."""

import random
from pathlib import Path

import pytest

from busbar.cli.recording import tape
from busbar.cli.recording.tape import Recorder, Taped
from busbar.errors import ConfigError
from busbar.mqtt.reconnect import Received
from tests.cli.command import busbar

COUNT = 60


def received(number: int) -> Received:
    return Received(
        f"busbar/bench/psu/state/v{number % 7}", f"{number / 3}".encode() * 20, False
    )


def written(path: Path) -> bytes:
    """Write a recording of several chunks.

    Return what it had when its writer could have been killed.
    """
    with Recorder(path, "busbar", "mqtt://127.0.0.1") as recorder:
        for number in range(COUNT):
            recorder.take(received(number))
            if number % 15 == 14:
                recorder.flush()
        return path.read_bytes()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.mcap"
    written(path)
    return path


def read(path: Path) -> list[Taped] | None:
    """Return the messages, None for no recording; the counts fit them."""
    try:
        _, topics, _ = tape.about(path)
    except ConfigError:
        return None
    found = list(tape.messages(path))
    assert sum(topics.values()) == len(found)
    return found


def test_what_was_flushed_is_there_when_the_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    path.write_bytes(written(tmp_path / "whole.mcap"))
    assert [each.payload for each in read(path) or ()] == [
        received(number).payload for number in range(COUNT)
    ]
    assert tape.about(path)[2] is False


def test_a_recording_that_was_cut_anywhere_has_what_came_before(
    whole: Path, tmp_path: Path
) -> None:
    content, everything = whole.read_bytes(), read(whole)
    assert everything is not None
    cut = tmp_path / "cut.mcap"
    counts = []
    for end in range(0, len(content), 7):
        cut.write_bytes(content[:end])
        found = read(cut)
        assert found is None or found == everything[: len(found)]
        counts.append(-1 if found is None else len(found))
    assert counts == sorted(counts)
    assert set(counts) == {-1, 0, 15, 30, 45, 60}


def test_flipped_bits_end_it_where_they_are(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    times = {each.time for each in read(whole) or ()}
    damaged, chance = tmp_path / "damaged.mcap", random.Random(1)
    for _ in range(400):
        wrong = bytearray(content)
        wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(wrong)
        assert {each.time for each in read(damaged) or ()} <= times


@pytest.mark.parametrize(
    "content", [b"", b"junk\n", b"no recording at all", bytes(1000)]
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.mcap"
    path.write_bytes(content)
    done = busbar("replay", str(path))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is no recording" in done.err


def test_a_root_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.mcap"
    with Recorder(path, "bus#bar", "mqtt://127.0.0.1"):
        pass
    done = busbar("replay", str(path))
    assert (done.code, done.err) == (
        2,
        (
            "busbar: root 'bus#bar' is not levels of A-Z "
            "a-z 0-9 _ - with / between them\n"
        ),
    )
