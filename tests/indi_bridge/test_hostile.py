"""What a server or a driver should never do, and what it costs: itself."""

import asyncio
import zlib
from pathlib import Path

import pytest

from busbar.codecs import indi
from busbar.codecs.indi import (
    BlobData,
    BlobEnd,
    BlobStart,
    DefMember,
    DefVector,
    DelProperty,
    SetVector,
)
from busbar.testing.fakes import until
from indi_bridge.blobs.folder import BlobFolder, Bounds
from indi_bridge.blobs.receive import BlobReceiver, ReceivedBlob
from indi_bridge.model import DEVICES
from indi_bridge.served_devices import GONE
from indi_bridge.vectors import MEMBERS
from tests.indi_bridge.bench import Bench
from tests.indi_bridge.stage import CAMERA, WHEEL, empty, failure, observatory


def number(device: str, name: str = "V", **about: str) -> DefVector:
    value = about.pop("value", "1")
    member = DefMember("A", "", value, **about)
    return DefVector("Number", device, name, (member,))


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
        stage.simulator.send(number("odd", **about))
        await stage.online("odd", "V")
        assert stage.vector("odd", "V")["A"] == float(about.get("value", 1))
        assert stage.bus.retained("pi", "status")["state"] == "online"


BLOB_OF_NOTHING = (
    b'<setBLOBVector device="x" name="y">'
    b'<oneBLOB name="z" size="3" format=".x">%b</oneBLOB></setBLOBVector>'
)
TEXT_OF_NOTHING = b'<setTextVector device="x" name="y"><oneText name="z">'
NOTE = (
    b'<setTextVector device="Bench" name="NOTES">'
    b'<oneText name="NOTE_0">%b</oneText></setTextVector>'
)
# elements, and what they add to `errors` and `ignored`
ELEMENTS: dict[str, tuple[bytes, int, int]] = {
    "Latin-1 in a message": (b'<message device="Bench" message="temp 10\xb0C"/>', 0, 0),
    "Latin-1 in a value": (NOTE % b"T\xe9l\xe9scope", 0, 0),
    "an ampersand in a message": (b'<message message="a & b"/>', 1, 0),
    "an XML declaration in the stream": (b'<?xml version="1.0"?>', 1, 0),
    "a set of nothing known": (
        TEXT_OF_NOTHING + b"1</oneText></setTextVector>",
        0,
        1,
    ),
    "a set of another type": (b'<setTextVector device="Bench" name="LEVEL"/>', 0, 1),
    "a set without a timeout": (
        b'<setNumberVector device="Bench" name="LEVEL" state="Ok"/>',
        0,
        0,
    ),
    "a delProperty, then a set": (
        b'<delProperty device="Bench" name="NOTES"/>' + NOTE % b"x",
        0,
        1,
    ),
    "a BLOB of nothing known": (BLOB_OF_NOTHING % b"QUJD", 0, 1),
    "a BLOB that is no base64": (BLOB_OF_NOTHING % b"!", 1, 1),
    "an element that is cut off": (TEXT_OF_NOTHING, 1, 0),
    "garbage": (b"\0\xff<<<>>>&&&", 1, 0),
    "a format that nobody knows": (
        b'<defNumberVector device="x" name="y" state="Ok" perm="rw">'
        b'<defNumber name="z" format="%10.4m" min="0" max="1" step="0">0.5</defNumber>'
        b"</defNumberVector>",
        0,
        0,
    ),
}


@pytest.mark.parametrize(
    ("element", "errors", "ignored"), ELEMENTS.values(), ids=ELEMENTS
)
async def test_an_element_costs_itself_only(
    element: bytes, errors: int, ignored: int
) -> None:
    async with empty("blobs: {mode: never}") as stage:
        stage.simulator.add(Bench(stage.simulator.send, stage.simulator.send_blob))
        await stage.online("Bench", "READING")
        sets = [
            SetVector("Number", "Bench", "READING", {"VALUE": str(each)}, "Ok")
            for each in range(100, 150)
        ]
        # in one segment
        stage.simulator.send_raw(element + b"".join(map(indi.encode, sets)))
        await stage.bus.value("Bench", "READING", lambda value: value["VALUE"] == 149.0)
        values = [
            each["value"]["VALUE"]
            for each in stage.bus.changes("Bench")
            if each["path"] == "READING"
        ]
        assert values[-50:] == [float(each) for each in range(100, 150)]
        assert (await stage.write("Bench", "LEVEL", {"VALUE": 7}))["ok"]
        assert (await stage.call("pi", "snapshot"))["ok"]
        await stage.bus.clock.advance(1.25)
        await stage.bus.value("pi", "errors", lambda count: count == errors)
        await stage.bus.value("pi", "ignored", lambda count: count == ignored)
        latin1 = b"\xb0" in element or b"\xe9" in element
        await stage.bus.value("pi", "latin1", lambda count: count == latin1)
        assert stage.statuses("pi").count("offline") == 1  # before it was ever up


async def test_a_blob_that_is_only_a_state_and_one_that_is_packed() -> None:
    async with empty() as stage:
        driver = Bench(stage.simulator.send, stage.simulator.send_blob)
        stage.simulator.add(driver)
        await stage.online("Bench", "PICTURE")
        await stage.asks_for_blobs()
        stage.simulator.send_raw(
            b'<setBLOBVector device="Bench" name="PICTURE" state="Alert">'
            b'<oneBLOB name="IMAGE" size="0" enclen="0" format=".fits">\n </oneBLOB>'
            b"</setBLOBVector>"
        )
        await stage.bus.value(
            "Bench", "PICTURE", lambda value: value["_state"] == "Alert"
        )
        driver.picture(zlib.compress(b"a text"), ".txt.z")
        about = await stage.bus.value("Bench", "PICTURE_IMAGE")
        assert about["format"] == ".txt"
        assert about["content_type"] == "text/plain"
        assert about["size"] == 6
        await until(
            lambda: stage.blobs("Bench", "PICTURE_IMAGE") == [b"a text"], "the text"
        )


async def test_what_is_wrong_on_the_connection_for_blobs_is_counted_too() -> None:
    async with empty() as stage:
        stage.simulator.add(Bench(stage.simulator.send, stage.simulator.send_blob))
        clients = lambda: [each for each in stage.simulator.clients if each.policies]  # noqa: E731
        for count in (1, 2):
            await until(clients, "the connection for BLOBs")
            (client,) = clients()
            client.send(b"<oops/>")
            await stage.bus.clock.advance(1.25)
            await stage.bus.value("pi", "errors", lambda errors, c=count: errors == c)
            client.abort()
            await until(
                lambda gone=client: gone not in stage.simulator.clients, "its end"
            )
            await stage.bus.clock.advance(2)


async def test_an_exposure_without_a_member_is_refused() -> None:
    async with empty() as stage:
        stage.simulator.send(DefVector("Number", "odd", "CCD_EXPOSURE", ()))
        await stage.online("odd", "CCD_EXPOSURE")
        reply = await stage.call("odd", "expose", {"seconds": 1})
        assert failure(reply) == (
            "bad_request: CCD_EXPOSURE has no member CCD_EXPOSURE_VALUE; "
            "there are: none"
        )


@pytest.mark.parametrize("name", ["bridge", "pi"])
async def test_a_device_of_a_taken_name_costs_itself_even_if_it_goes_on_talking(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with empty() as stage:
        stage.simulator.send(number(name))
        stage.simulator.send(SetVector("Number", name, "V", {"A": "2"}, "Ok"))
        stage.simulator.send(number(name, "W"))
        stage.simulator.send(number("other"))
        await stage.online("other", "V")
        await stage.bus.clock.advance(2.5)
        assert (await stage.call("pi", "snapshot"))["ok"]
        assert set(stage.statuses("pi")) == {"offline", "online"}
        assert stage.statuses("pi")[-1] == "online"
        shared = caplog.text.count("have one name on the bus")
        refused = caplog.text.count("is not served")
        assert shared + refused == 1


async def test_a_device_that_takes_the_name_of_one_that_is_gone() -> None:
    async with empty() as stage:
        stage.simulator.send(number("a b"))
        await stage.online("a_b", "V")
        stage.simulator.send(DelProperty("a b"))
        stage.simulator.send(number("a_b"))
        stage.simulator.send(number("other"))
        await stage.online("other", "V")
        await stage.bus.clock.advance(GONE + 10)
        await until(
            lambda: stage.bus.retained("a_b", "info") is None, "neither is served"
        )
        assert stage.statuses("pi")[-1] == "online"


async def test_a_device_whose_properties_are_deleted_one_by_one_is_gone() -> None:
    async with empty() as stage:
        for name in ("V", "W"):
            stage.simulator.send(number("odd", name))
        await stage.online("odd", "W")
        stage.simulator.send(DelProperty("odd", "V"))
        stage.simulator.send(DelProperty("odd", "W"))
        await stage.bus.status("odd", "offline")
        await stage.bus.clock.advance(GONE + 15)
        await until(lambda: stage.bus.retained("odd", "info") is None, "it is cleared")
        stage.simulator.send(number("odd"))
        await stage.online("odd", "V")


async def test_a_time_beyond_the_calendar_is_none() -> None:
    async with empty() as stage:
        stage.simulator.send(
            DefVector(
                "Text",
                "odd",
                "T",
                (DefMember("A"),),
                timestamp="9999-12-31T23:59:59.9999999",
            )
        )
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
        assert (
            failure(reply)
            == "unknown: the driver of 'CCD_Simulator' is gone at present"
        )


async def test_what_is_unfinished_is_not_sent() -> None:
    async with observatory() as stage:
        for rest in ("<newSwitchVector", "<!--", "</x>", "text"):
            element = f"<getProperties version='1.7' device='CCD Simulator'/>{rest}"
            assert "is not one whole" in failure(
                await stage.call(CAMERA, "send", {"element": element})
            )


async def test_a_set_that_was_superseded_is_not_missed_afterwards() -> None:
    async with observatory() as stage:
        stage.simulator.silent.add("FILTER_SLOT")
        first = asyncio.ensure_future(
            stage.bus.set(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2})
        )
        await until(
            lambda: stage.simulator.received[-1].name == "FILTER_SLOT", "the first"
        )
        stage.simulator.silent.clear()
        assert (await stage.write(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 3}))["ok"]
        assert failure(await first).startswith("cancelled")
        await stage.bus.clock.advance(15)
        assert not stage.bus.events(WHEEL, "timeout")


async def test_blobs_that_come_unasked_among_the_values_do_not_mix_with_ours() -> None:
    async with observatory('connect: ["*"]\n    blobs: {mode: never}') as stage:
        stage.simulator.send_raw(
            b'<setBLOBVector device="CCD Simulator" name="CCD1" state="Ok">'
            b'<oneBLOB name="CCD1" size="3" format=".x">QUJD</oneBLOB>'
            b"</setBLOBVector>"
        )
        assert (await stage.write(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2}))["ok"]
        assert stage.blobs(CAMERA, "CCD1_CCD1") == []


def test_a_disk_that_is_full_costs_the_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for call in ("open", "unlink"):
        monkeypatch.setattr(Path, call, _full)
    receiver = BlobReceiver(10**6, BlobFolder(tmp_path, Bounds()))
    for error in ("", "cut off"):
        receiver.start(BlobStart("D", "V", "../x", 3, ".x"))
        receiver.data(BlobData(b"123"))
        received = receiver.end(BlobEnd(error))
        assert isinstance(received, ReceivedBlob) == (not error)
    assert "No space left on device" in caplog.text


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


async def test_what_is_too_much_is_ignored_and_counted() -> None:
    async with empty() as stage:
        many = tuple(DefMember(f"M{place}") for place in range(MEMBERS + 3))
        stage.simulator.send(DefVector("Text", "odd", "V", many))
        for place in range(DEVICES + 4):
            stage.simulator.send(DefVector("Text", f"D{place}", "V", (DefMember("A"),)))
        await stage.bus.value("pi", "devices", lambda count: count == DEVICES)
        await stage.bus.value("pi", "ignored", lambda count: count == 3 + 5)


async def test_images_that_nobody_wants_stay_away_when_they_are_defined_again() -> None:
    async with observatory() as stage:
        assert (await stage.call(CAMERA, "enable_blob", {"value": "never"}))["ok"]
        assert (await stage.call(CAMERA, "get_properties"))["ok"]
        reply = await stage.call(CAMERA, "expose", {"seconds": 0.2})
        assert failure(reply).startswith("bad_request: images of CCD1 do not come here")
        assert (await stage.call(CAMERA, "enable_blob", {"value": "also"}))["ok"]
        reply = await stage.call(CAMERA, "expose", {"seconds": 0.2})
        assert reply["result"]["blob"] == "CCD1_CCD1"


async def test_an_exposure_that_cannot_be_changes_nothing() -> None:
    async with observatory() as stage:
        sent = len(stage.simulator.received)
        reply = await stage.call(
            CAMERA, "expose", {"seconds": 0.2, "type": "dark", "gain": 2}
        )
        assert failure(reply) == "unknown: CCD_Simulator has no CCD_GAIN at present"
        assert len(stage.simulator.received) == sent
