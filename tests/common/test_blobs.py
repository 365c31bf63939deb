"""The binary messages of a device (contract 3.5)."""

import threading

import pytest

from busbar.contract.describe import Blob, Description
from busbar.errors import Overloaded, TooLarge
from busbar.publish import files
from busbar.publish.blobs import PUBLISHED, BlobOutcome
from tests.device import bench, last, topics

CAMERA = Description("indi").with_blob(Blob("ccd/image", "image/fits"))


async def test_a_blob_is_published_raw_and_its_property_describes_it():
    made = await bench(CAMERA)
    made.device.blob("ccd/image", b"\x00\x01", "image/fits")
    sent = await made.run(2)
    blob = next(message for message in sent if message.topic.endswith("blob/ccd/image"))
    assert (blob.payload, blob.qos, blob.retain, blob.content_type) == (
        b"\x00\x01",
        0,
        False,
        "image/fits",
    )
    latest = {"size": 2, "content_type": "image/fits", "file": None}
    assert last(sent, "state")["values"] == {"ccd/image": latest}


async def test_a_blob_too_large_for_the_bus_is_saved(tmp_path):
    made = await bench(CAMERA, limit=1000, folder=tmp_path)
    outcome = await made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    latest = last(sent, "state")["values"]["ccd/image"]
    assert latest["size"] == 2000
    assert (tmp_path / latest["file"]).read_bytes() == b"x" * 2000
    assert outcome == BlobOutcome(latest["file"])
    assert made.outbox.dropped == 0


async def test_a_blob_too_large_for_the_bus_is_counted_where_there_is_no_folder():
    made = await bench(CAMERA, limit=1000)
    outcome = await made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    assert last(sent, "state")["values"]["ccd/image"]["file"] is None
    assert last(sent, "state")["bad"]["ccd/image"]["code"] == "too_large"
    assert made.outbox.dropped == 1
    with pytest.raises(TooLarge, match="2000 bytes; a message may have 1000"):
        outcome.check()


async def test_a_blob_that_cannot_be_saved_is_counted_and_logged(tmp_path, caplog):
    made = await bench(CAMERA, limit=1000, folder=tmp_path / "missing")
    outcome = await made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    state = last(await made.run(2), "state")
    assert state["values"]["ccd/image"]["file"] is None
    assert state["bad"]["ccd/image"]["code"] == "too_large"
    assert made.outbox.dropped == 1
    assert "psu/blob/ccd/image is lost: 2000 bytes" in caplog.text
    with pytest.raises(TooLarge, match="No such file"):
        outcome.check()
    await made.device.blob("ccd/image", b"x", "image/fits")
    assert made.device.state.bad == {}


async def test_a_blob_that_is_saved_is_described_with_what_is_known_of_it():
    made = await bench(CAMERA, limit=1000)
    made.device.blob(
        "ccd/image", b"x" * 2000, "image/fits", file="a.fits", about={"sha256": "00"}
    )
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    latest = {
        "size": 2000,
        "content_type": "image/fits",
        "file": "a.fits",
        "sha256": "00",
    }
    assert last(sent, "state")["values"]["ccd/image"] == latest
    assert made.outbox.dropped == 0
    made.device.blob("ccd/image", b"x", "image/fits", file="b.fits")
    assert "blob/ccd/image" in topics(await made.run(2))


async def test_a_retained_blob_goes_with_its_device():
    made = await bench(CAMERA)
    made.device.blob("ccd/image", b"x", "image/fits", retain=True)
    made.device.withdraw()
    blobs = [
        each for each in await made.run(2) if each.topic.endswith("blob/ccd/image")
    ]
    assert [(each.payload, each.retain) for each in blobs] == [
        (b"x", True),
        (b"", True),
    ]


async def test_what_is_published_is_known_at_once():
    made = await bench(CAMERA)
    outcome = made.device.blob("ccd/image", b"x", "image/fits")
    assert outcome.result() == PUBLISHED


async def test_a_disk_that_hangs_stops_nothing_and_costs_what_has_no_room(
    tmp_path, monkeypatch
):
    hangs = threading.Event()
    write = files._write
    monkeypatch.setattr(files, "_write", lambda *each: hangs.wait(60) and write(*each))
    monkeypatch.setattr(files, "WAITING_LIMIT", 5000)
    made = await bench(CAMERA, limit=1000, folder=tmp_path)
    kept = [
        made.device.blob("ccd/image", bytes([number]) * 2000, "image/fits")
        for number in range(3)
    ]
    with pytest.raises(Overloaded, match="4000 bytes wait for the disk"):
        (await kept[2]).check()
    made.device.event("beep", {})
    assert "event/beep" in topics(await made.publish())
    hangs.set()
    names = [(await each).file for each in kept[:2]]
    assert [(tmp_path / name).read_bytes()[0] for name in names] == [0, 1]


async def test_the_blob_of_a_device_that_has_left_is_dropped():
    made = await bench(CAMERA)
    made.device.withdraw()
    assert (await made.device.blob("ccd/image", b"x", "image/fits")).error is not None
