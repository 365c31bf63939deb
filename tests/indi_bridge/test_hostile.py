"""What a server or a driver should never do, and what it costs: itself."""

import asyncio
from pathlib import Path

import pytest

from busbar.codecs.indi import BlobData, BlobEnd, BlobStart, DefMember, DefVector, DelProperty, SetVector
from busbar.testing import until
from indi_bridge.blobs import Receiver
from indi_bridge.observatory import GONE
from indi_bridge.vectors import DEVICES, MEMBERS
from tests.indi_bridge.stage import CAMERA, WHEEL, empty, failure, observatory


def number(device: str, name: str = "V", **about: str) -> DefVector:
    return DefVector("Number", device, name, (DefMember("A", "", about.pop("value", "1"), **about),))


NUMBERS = {
    "a format with a sign alone": {"format": "%-.6m"},
    "a format of too many digits": {"format": f"%.{'9' * 5000}m"},
    "a number too large for hours": {"format": "%10.6m", "value": "1e308"},
    "bounds without end": {"min": "-inf", "max": "inf"},
    "a bound too large for a number": {"min": "0", "max": "1e999"},
}


@pytest.mark.parametrize("about", NUMBERS.values(), ids=NUMBERS)
async def test_a_number_that_is_odd_is_a_number(about: dict[str, str]) -> None:
    async with empty() as stage:
        stage.simulator.tell(number("odd", **about))
        await stage.online("odd", "V")
        assert stage.vector("odd", "V")["A"] == float(about.get("value", 1))
        assert stage.bus.retained("pi", "status")["state"] == "online"


@pytest.mark.parametrize("name", ["bridge", "pi"])
async def test_a_device_of_a_taken_name_costs_itself_even_if_it_goes_on_talking(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with empty() as stage:
        stage.simulator.tell(number(name))
        stage.simulator.tell(SetVector("Number", name, "V", {"A": "2"}, "Ok"))
        stage.simulator.tell(number("other"))
        await stage.online("other", "V")
        await stage.bus.clock.advance(2.5)
        assert (await stage.call("pi", "snapshot"))["ok"]
        assert set(stage.statuses("pi")) == {"offline", "online"}
        assert stage.statuses("pi")[-1] == "online"
        assert "have one name on the bus" in caplog.text or "is not served" in caplog.text


async def test_a_device_that_takes_the_name_of_one_that_is_gone() -> None:
    async with empty() as stage:
        stage.simulator.tell(number("a b"))
        await stage.online("a_b", "V")
        stage.simulator.tell(DelProperty("a b"))
        stage.simulator.tell(number("a_b"))
        stage.simulator.tell(number("other"))
        await stage.online("other", "V")
        await stage.bus.clock.advance(GONE + 10)
        await until(lambda: stage.bus.retained("a_b", "info") is None, "neither is served")
        assert stage.statuses("pi")[-1] == "online"


async def test_a_device_whose_properties_are_deleted_one_by_one_is_gone() -> None:
    async with empty() as stage:
        for name in ("V", "W"):
            stage.simulator.tell(number("odd", name))
        await stage.online("odd", "W")
        stage.simulator.tell(DelProperty("odd", "V"))
        stage.simulator.tell(DelProperty("odd", "W"))
        await stage.bus.status("odd", "offline")
        await stage.bus.clock.advance(GONE + 15)
        await until(lambda: stage.bus.retained("odd", "info") is None, "it is cleared")
        stage.simulator.tell(number("odd"))
        await stage.online("odd", "V")


async def test_a_time_beyond_the_calendar_is_none() -> None:
    async with empty() as stage:
        stage.simulator.tell(DefVector("Text", "odd", "T", (DefMember("A"),), timestamp="9999-12-31T23:59:59.9999999"))
        await stage.online("odd", "T")
        assert stage.vector("odd", "T")["_time"] < 253402300800
        assert (await stage.call("pi", "snapshot"))["ok"]
        refused = await stage.write("odd", "T", {"A": "x", "_time": 1e15})
        assert "bad_request: _time: 1e+15 is no Unix time" in failure(refused)


async def test_a_device_that_is_gone_is_unknown_to_the_server() -> None:
    async with observatory() as stage:
        stage.simulator.crash("CCD Simulator")
        await stage.bus.status(CAMERA, "offline")
        reply = await stage.call("pi", "snapshot", {"device": "CCD_Simulator"})
        assert failure(reply) == "unknown: the driver of 'CCD_Simulator' is gone at present"


async def test_what_is_unfinished_is_not_sent() -> None:
    async with observatory() as stage:
        for rest in ("<newSwitchVector", "<!--", "</x>", "text"):
            element = f"<getProperties version='1.7' device='CCD Simulator'/>{rest}"
            assert "is not one whole" in failure(await stage.call(CAMERA, "send", {"element": element}))


async def test_a_set_that_was_superseded_is_not_missed_afterwards() -> None:
    async with observatory() as stage:
        stage.simulator.silent.add("FILTER_SLOT")
        first = asyncio.ensure_future(stage.bus.set(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2}))
        await until(lambda: stage.simulator.seen[-1].name == "FILTER_SLOT", "the first")
        stage.simulator.silent.clear()
        assert (await stage.write(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 3}))["ok"]
        assert failure(await first).startswith("cancelled")
        await stage.bus.clock.advance(15)
        assert not stage.bus.events(WHEEL, "timeout")


async def test_blobs_that_come_unasked_among_the_values_do_not_mix_with_ours() -> None:
    async with observatory('connect: ["*"]\n    blobs: {mode: never}') as stage:
        stage.simulator.raw(
            b'<setBLOBVector device="CCD Simulator" name="CCD1" state="Ok"><oneBLOB name="CCD1" size="3" format=".x">'
            b"QUJD</oneBLOB></setBLOBVector>"
        )
        assert (await stage.write(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2}))["ok"]
        assert stage.blobs(CAMERA, "CCD1_CCD1") == []


def test_a_disk_that_is_full_costs_the_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for call in ("open", "unlink"):
        monkeypatch.setattr(Path, call, _full)
    receiver = Receiver(10**6, tmp_path)
    for error in ("", "cut off"):
        receiver.start(BlobStart("D", "V", "../x", 3, ".x"))
        receiver.data(BlobData(b"123"))
        received = receiver.end(BlobEnd(error))
        assert (received is None) == bool(error)
    assert "No space left on device" in caplog.text


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


async def test_what_is_too_much_is_ignored_and_counted() -> None:
    async with empty() as stage:
        many = tuple(DefMember(f"M{place}") for place in range(MEMBERS + 3))
        stage.simulator.tell(DefVector("Text", "odd", "V", many))
        for place in range(DEVICES + 4):
            stage.simulator.tell(DefVector("Text", f"D{place}", "V", (DefMember("A"),)))
        await stage.bus.value("pi", "devices", lambda count: count == DEVICES)
        await stage.bus.value("pi", "ignored", lambda count: count == 3 + 5)


async def test_images_that_nobody_wants_stay_away_when_they_are_defined_again() -> None:
    async with observatory() as stage:
        assert (await stage.call(CAMERA, "enable_blob", {"value": "never"}))["ok"]
        assert (await stage.call(CAMERA, "get_properties"))["ok"]
        assert (await stage.call(CAMERA, "expose", {"seconds": 0.2}))["result"] == {"blob": None, "about": None}
        assert (await stage.call(CAMERA, "enable_blob", {"value": "also"}))["ok"]
        assert (await stage.call(CAMERA, "expose", {"seconds": 0.2}))["result"]["blob"] == "CCD1_CCD1"


async def test_an_exposure_that_cannot_be_changes_nothing() -> None:
    async with observatory() as stage:
        sent = len(stage.simulator.seen)
        reply = await stage.call(CAMERA, "expose", {"seconds": 0.2, "type": "dark", "binning": 2})
        assert failure(reply) == "unknown: CCD_Simulator has no CCD_BINNING at present"
        assert len(stage.simulator.seen) == sent
