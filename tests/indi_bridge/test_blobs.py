"""BLOBs.

From the server's base64 to the bus, to files and previews, and back to drivers.
"""

import asyncio
import base64
import hashlib
import io
import os
import random
import re
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from busbar.codecs.indi import (
    BlobData,
    BlobEnd,
    BlobStart,
    DefMember,
    DefVector,
    NewBlob,
    SetVector,
)
from busbar.testing.fakes import until
from indi_bridge.blobs import connection, receive
from indi_bridge.blobs.files import BlobFile
from indi_bridge.blobs.fits import read_header
from indi_bridge.blobs.folder import BlobFolder, Bounds
from indi_bridge.blobs.preview import WIDEST, jpeg
from indi_bridge.blobs.publish import BlobPublisher, Frame
from indi_bridge.blobs.receive import BlobReceiver, ReceivedBlob
from indi_bridge.simulator.star_field import star_field
from tests.indi_bridge.bench import Bench
from tests.indi_bridge.stage import CAMERA, FOCUSER, Stage, empty, failure, observatory

SHOT = {"seconds": 0.2}
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def receive_blob(
    receiver: BlobReceiver, data: bytes, format: str = ".bin", error: str = ""
) -> ReceivedBlob | None:
    """Return a whole BLOB, None if it was empty or lost."""
    receiver.start(BlobStart("D", "V", "M", len(data), format))
    for start in range(0, len(data), 1000):
        receiver.data(BlobData(data[start : start + 1000]))
    received = receiver.end(BlobEnd(error))
    return received if isinstance(received, ReceivedBlob) else None


def folder(path: Path, **bounds: Any) -> BlobFolder:
    return BlobFolder(path, Bounds(**bounds))


def names_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


async def bench(stage: Stage) -> Bench:
    """Let the test's own driver be there, and its BLOBs be wanted."""
    driver = Bench(stage.simulator.send, stage.simulator.send_blob)
    stage.simulator.add(driver)
    await stage.online("Bench", "PICTURE")
    await stage.asks_for_blobs()
    return driver


# One BLOB.


def test_what_comes_is_summed_up_and_inflated() -> None:
    data = random.Random(1).randbytes(50_000) * 3
    receiver = BlobReceiver(10**6, None)
    plain = receive_blob(receiver, data)
    packed = receive_blob(receiver, zlib.compress(data), ".bin.z")
    assert plain is not None and packed is not None
    assert plain.data == data
    assert plain.size == len(data)
    assert plain.sha256 == hashlib.sha256(data).hexdigest()
    assert (packed.data, packed.sha256, packed.format) == (data, plain.sha256, ".bin")


@pytest.mark.parametrize(
    "bad", [b"no zlib", zlib.compress(b"x" * 5000)[:-8]], ids=["no zlib", "cut"]
)
def test_what_cannot_be_inflated_is_lost_and_counted(bad: bytes) -> None:
    receiver = BlobReceiver(10**6, None)
    assert receive_blob(receiver, bad, ".txt.z") is None
    assert receive_blob(receiver, b"fine") is not None
    assert receiver.lost == 1


def test_only_a_state_is_no_blob_and_no_loss() -> None:
    receiver = BlobReceiver(10**6, None)
    assert receive_blob(receiver, b"") is None
    assert receiver.lost == 0


def test_what_inflates_without_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(receive, "SIZE_LIMIT", 5_000_000)
    saved = folder(tmp_path)
    receiver = BlobReceiver(1000, saved)
    assert receive_blob(receiver, zlib.compress(bytes(50_000_000)), ".z") is None
    assert (receiver.lost, names_in(tmp_path)) == (1, [])


def test_files_name_their_camera_and_second(tmp_path: Path) -> None:
    receiver = BlobReceiver(10**6, folder(tmp_path), lambda: NOW)
    names = []
    for number in range(3):
        received = receive_blob(receiver, b"%d" % number, ".fits")
        assert received is not None
        names.append(received.file)
    assert names == [
        "D_M_20231114_22_13_20.fits",
        "D_M_20231114_22_13_20_1.fits",
        "D_M_20231114_22_13_20_2.fits",
    ]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"0", b"1", b"2"]


def test_a_format_is_never_a_path(tmp_path: Path) -> None:
    saved = folder(tmp_path)
    receiver = BlobReceiver(10**6, saved, lambda: NOW)
    received = receive_blob(receiver, b"x", "/../../etc/x")
    assert received is not None
    assert received.file == "D_M_20231114_22_13_20....etcx"
    assert names_in(tmp_path) == [received.file]


def test_too_large_for_the_bus_is_a_file_alone(tmp_path: Path) -> None:
    receiver = BlobReceiver(2000, folder(tmp_path))
    received = receive_blob(receiver, b"x" * 5000)
    assert received is not None
    assert (received.data, received.size) == (None, 5000)
    assert (tmp_path / str(received.file)).read_bytes() == b"x" * 5000


def test_frames_of_a_video_are_not_saved(tmp_path: Path) -> None:
    saved = folder(tmp_path)
    receiver = BlobReceiver(10**6, saved)
    received = receive_blob(receiver, b"x" * 100, ".stream_jpg")
    assert received is not None
    assert (received.data, received.file) == (b"x" * 100, None)
    assert names_in(tmp_path) == []


def test_a_blob_that_fails_or_is_cut_off_leaves_no_file(tmp_path: Path) -> None:
    saved = folder(tmp_path)
    receiver = BlobReceiver(10**6, saved)
    assert receive_blob(receiver, b"x" * 3000, error="no base64") is None
    receiver.start(BlobStart("D", "V", "M", 3, ".x"))
    receiver.data(BlobData(b"123"))
    receiver.drop()
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_the_file_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = BlobReceiver(10**6, folder(tmp_path / "gone"))
    received = receive_blob(receiver, b"x")
    assert received is not None
    assert (received.data, received.file) == (b"x", None)
    assert "cannot save" in caplog.text


def test_nothing_is_saved_where_the_disk_has_too_little_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = BlobReceiver(10**6, folder(tmp_path, free=1 << 60))
    received = receive_blob(receiver, b"x")
    assert received is not None
    assert received.file is None
    assert "MiB stay so" in caplog.text


def test_a_folder_keeps_to_its_size_and_touches_no_foreign_file(
    tmp_path: Path,
) -> None:
    foreign = tmp_path / "thesis.fits"
    foreign.write_bytes(b"x" * 5000)
    os.utime(foreign, (1.0, 1.0))
    saved = folder(tmp_path, size=2500)
    names = []
    for number in range(5):
        receiver = BlobReceiver(10**6, saved, lambda n=number: NOW + n)
        received = receive_blob(receiver, b"x" * 1000, ".fits")
        assert received is not None and received.file is not None
        os.utime(tmp_path / received.file, (NOW + number, NOW + number))
        names.append(received.file)
    assert names_in(tmp_path) == [*names[-2:], "thesis.fits"]


def test_images_that_are_too_old_are_removed(tmp_path: Path) -> None:
    saved = folder(tmp_path, age=3600.0)
    for number in range(2):
        receiver = BlobReceiver(10**6, saved, lambda n=number: NOW + n)
        received = receive_blob(receiver, b"x", ".fits")
        assert received is not None and received.file is not None
        if number == 0:
            os.utime(tmp_path / received.file, (NOW, NOW))
    assert names_in(tmp_path) == ["D_M_20231114_22_13_21.fits"]


# FITS and previews.


def test_a_card_too_large_for_json_is_a_float_and_one_that_is_none_is_null() -> None:
    cards = [
        "SIMPLE  = T",
        "A       = 1E300",
        "B       = 99999999999999999999",
        "C       = 7E2",
        "D       = NaN",
        "END",
    ]
    header = read_header("".join(each.ljust(80) for each in [*cards, "END"]).encode())
    assert header is not None
    assert [repr(header.cards[key]) for key in "ABCD"] == [
        "1e+300",
        "1e+20",
        "700",
        "None",
    ]


def test_the_cards_of_a_header() -> None:
    header = read_header(star_field(random.Random(1), 2.5, 10))
    assert header is not None
    assert header.shape == (320, 240, 1)
    assert header.cards | {"SIMPLE": None} == {
        "SIMPLE": None,
        "BITPIX": 16,
        "NAXIS": 2,
        "NAXIS1": 320,
        "NAXIS2": 240,
        "BZERO": 32768,
        "BSCALE": 1,
        "INSTRUME": "CCD Simulator",
        "EXPTIME": 2.5,
        "IMAGETYP": "Light Frame",
        "ROWORDER": "TOP-DOWN",
    }
    cards = (
        b"SIMPLE  =                    T"
        + b" " * 50
        + b"NAME    = 'it''s'   / a comment".ljust(80)
        + b"END".ljust(80)
    )
    assert read_header(cards).cards == {"SIMPLE": True, "NAME": "it's"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "data", [b"", b"SIMPLE  =", b"\x89PNG", b"SIMPLE  = T".ljust(80) + b"X" * 5000]
)
def test_what_has_no_header(data: bytes) -> None:
    assert read_header(data) is None
    assert jpeg(data) is None


def fits(bitpix: int, width: int, height: int, pixels: bytes, planes: int = 1) -> bytes:
    cards = {
        "SIMPLE": "T",
        "BITPIX": bitpix,
        "NAXIS": 3 if planes > 1 else 2,
        "NAXIS1": width,
        "NAXIS2": height,
    }
    cards |= {"NAXIS3": planes} if planes > 1 else {}
    text = "".join(
        f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items()
    ) + "END".ljust(80)
    return text.ljust(2880).encode() + pixels


@pytest.mark.parametrize(
    ("bitpix", "size"), [(8, 1), (16, 2), (32, 4), (-32, 4), (-64, 8)]
)
def test_a_preview_of_each_kind_of_pixel(bitpix: int, size: int) -> None:
    made = jpeg(fits(bitpix, 2000, 100, random.Random(1).randbytes(2000 * 100 * size)))
    assert made is not None
    with Image.open(io.BytesIO(made)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (500, 25))
        assert max(image.size) <= WIDEST


def test_a_preview_shows_stars_on_dark_sky_the_right_way_up_and_colours() -> None:
    # the first row of a file is at the bottom
    sky = jpeg(fits(8, 4, 2, bytes([0, 0, 0, 0, 255, 255, 255, 255])))
    with Image.open(io.BytesIO(sky or b"")) as image:
        assert image.getpixel((1, 0)) > 200 > 60 > image.getpixel((1, 1))  # type: ignore[operator]
    coloured = jpeg(fits(8, 16, 16, bytes(range(256)) * 3, planes=3))
    with Image.open(io.BytesIO(coloured or b"")) as image:
        assert image.mode == "RGB"


def test_a_file_that_is_too_short_has_no_preview() -> None:
    assert jpeg(fits(16, 100, 100, b"short")) is None
    assert jpeg(fits(16, 0, 100, b"")) is None


# On the bus.


async def test_an_exposure_gives_the_image_its_description_and_a_preview() -> None:
    async with observatory('connect: ["*"]\n    blobs: {preview: jpeg}') as stage:
        reply = await stage.call(CAMERA, "expose", {"seconds": 2, "type": "light"})
        assert reply["ok"], reply
        assert reply["result"]["blob"] == "CCD1_CCD1"
        about = await stage.bus.value(CAMERA, "CCD1_CCD1")
        (image,) = stage.blobs(CAMERA, "CCD1_CCD1")
        assert about["size"] == len(image)
        assert about["sha256"] == hashlib.sha256(image).hexdigest()
        assert about["format"] == ".fits"
        assert about["content_type"] == "image/fits"
        assert about["file"] is None
        assert (about["fits"]["EXPTIME"], about["fits"]["NAXIS1"]) == (2.0, 320)
        assert reply["result"]["about"]["sha256"] == about["sha256"]
        await until(lambda: stage.blobs(CAMERA, "CCD1_CCD1_preview"), "the preview")
        assert stage.blobs(CAMERA, about["preview"])[0].startswith(b"\xff\xd8")
        info = stage.bus.retained(CAMERA, "info")
        assert {"CCD1_CCD1", "CCD1_CCD1_preview"} <= info["blobs"].keys()
        fractions = [
            e["fraction"]
            for e in stage.bus.events(CAMERA, "progress")
            if e["target"] == "call/expose"
        ]
        assert fractions[0] == 0.0
        # a definition again says nothing of the last image
        assert (await stage.call(CAMERA, "get_properties"))["ok"]
        assert stage.vector(CAMERA, "CCD1")["CCD1"] == {"format": ".fits"}


async def test_images_are_saved_and_retained_as_configured(tmp_path: Path) -> None:
    async with observatory(
        f'connect: ["*"]\n    blobs: {{save: {tmp_path}, retain: true}}'
    ) as stage:
        await stage.call(CAMERA, "expose", SHOT)
        about = await stage.bus.value(CAMERA, "CCD1_CCD1", lambda about: about["file"])
        assert re.fullmatch(
            r"CCD_Simulator_CCD1_\d{8}_\d\d_\d\d_\d\d\.fits", about["file"]
        )
        assert stage.blobs(CAMERA, "CCD1_CCD1") == [
            (tmp_path / about["file"]).read_bytes()
        ]
        assert f"busbar/dome/{CAMERA}/blob/CCD1_CCD1" in stage.bus.broker.retained
        dump = (
            await stage.call(
                "pi",
                "snapshot",
                {"inc_blob": True, "device": "CCD Simulator", "vector": "CCD1"},
            )
        )["result"]
        member = dump["members"]["CCD1"]
        assert member["filename"] == about["file"]
        assert member["blobsize"] == about["size"]
        assert member["blobformat"] == ".fits"
        assert base64.b64decode(member["value"]) == stage.blobs(CAMERA, "CCD1_CCD1")[0]


async def test_an_image_over_the_limit_is_only_saved_and_described(
    tmp_path: Path,
) -> None:
    async with observatory(
        f'connect: ["*"]\n    blobs: {{limit: 10kB, save: {tmp_path}, preview: jpeg}}'
    ) as stage:
        reply = await stage.call(CAMERA, "expose", SHOT)
        about = await stage.bus.value(CAMERA, "CCD1_CCD1", lambda about: about["file"])
        assert (about["size"], about["preview"]) == (158_400, None)
        assert reply["result"]["about"]["file"] == about["file"]
        assert len((tmp_path / about["file"]).read_bytes()) == 158_400
        assert not stage.blobs(CAMERA, "CCD1_CCD1")


async def test_an_image_that_nobody_can_get_is_no_success() -> None:
    async with observatory('connect: ["*"]\n    blobs: {limit: 10kB}') as stage:
        reply = await stage.call(CAMERA, "expose", SHOT)
        assert reply["error"]["code"] == "too_large"
        assert "158400 bytes" in await stage.bus.bad(CAMERA, "CCD1_CCD1", "too_large")


async def test_a_disk_that_hangs_delays_images_and_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    write = BlobFile.write

    def hanging(self: BlobFile, data: bytes) -> None:
        assert hangs.wait(60)
        write(self, data)

    monkeypatch.setattr(BlobFile, "write", hanging)
    more = f'connect: ["*"]\n    blobs: {{save: {tmp_path}}}'
    async with observatory(more) as stage:
        exposing = asyncio.create_task(stage.call(CAMERA, "expose", SHOT))
        moving = {"FOCUS_ABSOLUTE_POSITION": 51000}
        assert (await stage.write(FOCUSER, "ABS_FOCUS_POSITION", moving))["ok"]
        assert not exposing.done()
        hangs.set()
        about = (await exposing)["result"]["about"]
        assert len((tmp_path / about["file"]).read_bytes()) == about["size"]


async def test_without_images_an_exposure_has_none_and_nobody_asks_for_them() -> None:
    async with observatory('connect: ["*"]\n    blobs: {mode: never}') as stage:
        reply = await stage.call(CAMERA, "expose", SHOT)
        assert failure(reply).startswith("bad_request: images of CCD1 do not come here")
        assert not any(client.policies for client in stage.simulator.clients)
        assert (await stage.call(CAMERA, "enable_blob", "also"))["ok"]
        await stage.asks_for_blobs()
        reply = await stage.call(CAMERA, "expose", SHOT)
        assert reply["result"]["blob"] == "CCD1_CCD1"


async def test_the_image_of_another_sensor_is_not_that_of_the_exposure() -> None:
    async with observatory() as stage:
        guider = DefVector(
            "BLOB", "CCD Simulator", "CCD2", (DefMember("CCD2"),), perm="ro"
        )
        stage.simulator.send(guider)
        wanted = ("CCD Simulator", "CCD2")
        await until(
            lambda: any(wanted in each.policies for each in stage.simulator.clients),
            "it is wanted",
        )
        exposing = asyncio.ensure_future(
            stage.bus.call(CAMERA, "expose", {"seconds": 1})
        )
        await stage.bus.value(
            CAMERA, "CCD_EXPOSURE", lambda value: value["_state"] == "Busy"
        )
        told = SetVector("BLOB", *wanted, {}, "Ok")
        stage.simulator.send_blob(told, {"CCD2": NewBlob(b"guide", ".fits", 5)})
        await until(lambda: stage.blobs(CAMERA, "CCD2_CCD2"), "the image of the guider")
        assert (await stage.hurried(exposing))["result"]["blob"] == "CCD1_CCD1"


async def test_only_images() -> None:
    async with empty("connect: ['*']\n    blobs: {mode: only}") as stage:
        stage.simulator.add_observatory()
        await until(lambda: "CCD1" in stage.properties(CAMERA), "the camera")
        await stage.asks_for_blobs()
        own = {
            path
            for path, each in stage.properties(CAMERA).items()
            if each.get("original")
        }
        assert own == {"CCD1"}
        stage.simulator.drivers["CCD Simulator"].set(
            "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": "0.1"}
        )
        await stage.bus.clock.advance(1)
        await until(lambda: stage.blobs(CAMERA, "CCD1_CCD1"), "the image")


async def test_enable_blob_stops_and_starts_images() -> None:
    async with observatory() as stage:
        policies = lambda: [  # noqa: E731
            list(each.policies.values())
            for each in stage.simulator.clients
            if each.policies
        ]
        await until(lambda: policies() == [["Only"]], "images")
        assert (await stage.call(CAMERA, "enable_blob", "never"))["result"] == [
            "CCD Simulator.CCD1"
        ]
        await until(lambda: policies() == [["Never"]], "no images")
        arguments = {"value": "also", "device": "CCD Simulator", "vector": "CCD1"}
        assert (await stage.call("pi", "enable_blob", arguments))["ok"]
        await until(lambda: policies() == [["Only"]], "images again")


async def test_a_connection_for_images_that_breaks_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "RETRY", 1000.0)
    async with empty() as stage:
        driver = await bench(stage)
        (blob_client,) = [each for each in stage.simulator.clients if each.policies]
        blob_client.abort()
        await until(lambda: blob_client not in stage.simulator.clients, "its end")
        await stage.bus.clock.advance(400)
        assert (await stage.bus.call("pi", "snapshot"))["ok"]
        # not at once: it may break again
        assert not any(each.policies for each in stage.simulator.clients)
        await stage.bus.clock.advance(700)
        await until(
            lambda: any(each.policies for each in stage.simulator.clients),
            "another one",
        )
        driver.picture(b"again")
        await until(
            lambda: stage.blobs("Bench", "PICTURE_IMAGE") == [b"again"], "the image"
        )
        assert stage.statuses("pi").count("offline") == 1  # before it was ever up


async def test_of_a_video_the_newest_frames_are_published_at_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    came: list[Frame] = []
    publish = BlobPublisher.publish

    def counted(self: BlobPublisher, frame: Frame) -> None:
        publish(self, frame)
        came.append(frame)

    monkeypatch.setattr(BlobPublisher, "publish", counted)
    async with empty("blobs: {stream: 2}") as stage:
        driver = await bench(stage)
        for number in range(20):
            driver.picture(b"frame %d" % number, ".stream")
        await until(lambda: stage.blobs("Bench", "PICTURE_IMAGE"), "the first frame")
        await until(lambda: len(came) == 20, "the last frame is here")
        assert stage.vector("Bench", "PICTURE")["IMAGE"] == {"format": ".stream"}
        await stage.bus.clock.advance(1)
        await until(
            lambda: len(stage.blobs("Bench", "PICTURE_IMAGE")) == 2, "the newest"
        )
        assert stage.blobs("Bench", "PICTURE_IMAGE") == [b"frame 0", b"frame 19"]
        await stage.bus.clock.advance(1)
        await stage.bus.value("pi", "frames_dropped", lambda count: count == 18)


async def test_a_blob_goes_to_a_driver() -> None:
    async with empty() as stage:
        upload = DefVector("BLOB", "D", "UP", (DefMember("FILE"),), perm="wo")
        stage.simulator.send(upload)
        await until(lambda: "UP" in stage.properties("D"), "the property")
        data = base64.b64encode(b"\0\1\2").decode()
        reply = await stage.write(
            "D", "UP", {"FILE": {"format": ".bin", "data": data}, "_timeout": 0.05}
        )
        assert failure(reply).startswith("timeout")  # nobody answers
        assert stage.simulator.received[-1].members == {"FILE": ".bin"}
        assert stage.simulator.uploads == [b"\0\1\2"]
        assert "UP_FILE" not in stage.bus.retained("D", "info")["blobs"]


async def test_values_do_not_wait_for_images() -> None:
    async with empty() as stage:
        driver = await bench(stage)
        image = os.urandom(8 * 1024 * 1024)
        driver.picture(image, ".raw")
        driver.change("LEVEL", "VALUE", "29")
        await stage.bus.value("Bench", "LEVEL", lambda value: value["VALUE"] == 29.0)
        assert not stage.blobs("Bench", "PICTURE_IMAGE")
        await until(lambda: stage.blobs("Bench", "PICTURE_IMAGE"), "the image")
        assert stage.blobs("Bench", "PICTURE_IMAGE")[0] == image


async def test_what_is_known_of_the_last_image_outlives_the_link() -> None:
    async with empty() as stage:
        driver = await bench(stage)
        driver.picture(b"one")
        await stage.bus.value(
            "Bench", "PICTURE_IMAGE", lambda about: about["size"] == 3
        )
        stage.simulator.unplug()
        await stage.bus.status("Bench", "offline")
        await stage.simulator.plug()
        for _ in range(40):
            await stage.bus.clock.advance(0.25)
            await asyncio.sleep(0.005)
        await stage.bus.status("Bench", "online")
        await until(lambda: not stage.bus.faults("Bench"), "all good")
        assert stage.bus.good("Bench")["PICTURE_IMAGE"]["size"] == 3
