"""The binary messages of a device (contract 3.5)."""

from busbar.contract.describe import Blob, Description
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
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    latest = last(sent, "state")["values"]["ccd/image"]
    assert latest["size"] == 2000
    assert (tmp_path / latest["file"]).read_bytes() == b"x" * 2000
    assert made.outbox.dropped == 0


async def test_a_blob_too_large_for_the_bus_is_counted_where_there_is_no_folder():
    made = await bench(CAMERA, limit=1000)
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    assert last(sent, "state")["values"]["ccd/image"]["file"] is None
    assert made.outbox.dropped == 1


async def test_a_blob_that_cannot_be_saved_is_counted_and_logged(tmp_path, caplog):
    made = await bench(CAMERA, limit=1000, folder=tmp_path / "missing")
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    assert last(await made.run(2), "state")["values"]["ccd/image"]["file"] is None
    assert made.outbox.dropped == 1
    assert "psu/blob/ccd/image (2000 bytes) is lost" in caplog.text


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
