"""Blobs as files.

Whatever the bus calls them, they stay in the folder and none replaces another.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar.client.files import save
from busbar.client.types import Blob

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/../b",
    "-rf",
    "a\nb",
    "a\x00b",
    "CON",
    "~root",
    "$(x)",
    "\ud800",
    "x" * 5000,
    "/".join("x" * 64 for _ in range(100)),
    ".hidden",
    "a;b",
    "ü",
]


def blob(**fields: Any) -> Blob:
    known: dict[str, Any] = {
        "device": "lab/cam",
        "name": "image",
        "data": b"data",
        "content_type": "image/png",
        "time": 0.0,
    }
    return Blob(**{**known, **fields})


def test_the_name_says_device_blob_and_time(tmp_path: Path):
    assert save(blob(), tmp_path).name == "lab.cam.image.19700101T000000.png"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_the_folder(tmp_path: Path, name: str):
    folder = tmp_path / "in"
    folder.mkdir()
    for made in (blob(name=name), blob(device=f"lab/{name}"), blob(content_type=name)):
        path = save(made, folder)
        assert path.parent == folder
        assert path.resolve().parent == folder.resolve()
        assert path.read_bytes() == b"data"
        assert not path.name.startswith((".", "-"))
    assert list(tmp_path.iterdir()) == [folder]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=300), st.text(max_size=40))
def test_any_name_is_safe(tmp_path: Path, name: str, kind: str):
    path = save(blob(name=name, content_type=kind), tmp_path)
    assert path.parent == tmp_path
    assert len(path.name.encode()) < 256


def test_names_that_look_alike_when_mapped_are_two_files(tmp_path: Path):
    assert (
        save(blob(name="a:b"), tmp_path).name != save(blob(name="a;b"), tmp_path).name
    )


def test_nothing_is_overwritten(tmp_path: Path):
    paths = [save(blob(data=bytes([number])), tmp_path) for number in range(5)]
    assert len(set(paths)) == 5
    assert [path.read_bytes() for path in paths] == [
        bytes([number]) for number in range(5)
    ]


def test_a_link_that_somebody_has_put_there_is_not_followed(tmp_path: Path):
    victim, folder = tmp_path / "victim", tmp_path / "in"
    folder.mkdir()
    (folder / "lab.cam.image.19700101T000000.png").symlink_to(victim)
    save(blob(), folder)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("image/fits", ".fits"),
        ("image/png", ".png"),
        ("application/octet-stream", ".bin"),
        (None, ".bin"),
        ("x/y", ".bin"),
    ],
)
def test_the_content_type_gives_the_suffix(
    tmp_path: Path, kind: str | None, suffix: str
):
    assert save(blob(content_type=kind), tmp_path).suffix == suffix


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(OSError, match="nowhere"):
        save(blob(), tmp_path / "nowhere")
