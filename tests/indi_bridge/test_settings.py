"""The configuration: what is taken, and what is refused with which words."""

from pathlib import Path

import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from busbar.runtime.service import plan
from indi_bridge.bridge import SERVICE
from indi_bridge.settings import Config, Place, Selection, place

SERVER = "bridge: {{name: dome}}\nservers:\n  - {{name: pi, address: 'indi::h'{more}}}"


def taken(more: str, folder: Path = Path()) -> Config:
    return loader.parse(SERVER.format(more=more), Config, {}, folder=folder)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("indi::pi.local", Place("pi.local", 7624)),
        ("indi::10.0.0.1:7000", Place("10.0.0.1", 7000)),
        ("indi::[fe80::1%eth0]:7000", Place("fe80::1%eth0", 7000)),
        ("indi::/run/indi", Place("", 0, "/run/indi")),
        ("indi::@/tmp/indiserver", Place("", 0, "@/tmp/indiserver")),
    ],
)
def test_addresses(address: str, expected: Place) -> None:
    assert place(address) == expected


@pytest.mark.parametrize(
    "address",
    ["indi::", "h:7624", "indi::h:0", "indi::h:70000", "indi::fe80::1", "tcp::h:1"],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="address: "):
        place(address)


REFUSED = {
    ", colour: red": "colour",
    ", blobs: {mode: sometimes}": "allowed: also, never, only",
    ", blobs: {limit: 1GiB}": "at most 120MiB",
    ", blobs: {preview: png}": "jpeg",
    ", blobs: {stream: 0}": "stream",
    ", timeouts: {min: 5, max: 3}": "min: 5 is above max: 3",
    ", names: {a: x, b: x}": "'x' is there twice",
    ", names: {a: pi}": "name of the bridge's device or of its server",
    ", names: {a: a b}": "names",
    "}\n  - {name: pi, address: 'indi::i'": "two devices are named 'pi'",
    "}\n  - {name: bridge, address: 'indi::i'": "'bridge' is the bridge itself",
    "}\n  - {name: u, address: 'indi::/run/x'": "shared memory; allowed: never",
}


@pytest.mark.parametrize(("more", "said"), REFUSED.items(), ids=REFUSED.values())
def test_what_is_refused(more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        taken(more)


def test_the_defaults() -> None:
    (server,) = taken("").servers
    assert server.blobs.mode == "also"
    # a frame of 61 megapixels
    assert server.blobs.limit > 9576 * 6388 * 2
    assert server.blobs.save is None
    assert server.connect == ()
    assert not server.steps
    assert server.timeouts.enable is True
    assert server.timeouts.min == 2.0
    assert server.timeouts.max == 10.0


def test_a_folder_is_from_the_files_own_and_has_to_be_there(tmp_path: Path) -> None:
    settings = taken(", blobs: {save: images}", tmp_path)
    assert settings.servers[0].blobs.save == str(tmp_path / "images")
    with pytest.raises(
        ConfigError,
        match=(
            r"servers: pi: blobs: save: there is "
            r"no folder .*images"
        ),
    ):
        plan(SERVICE, settings, None, {})
    (tmp_path / "images").mkdir()
    assert plan(SERVICE, settings, None, {}).blobs_apart > 64 << 20


def test_a_selection() -> None:
    selection = Selection(include=("CCD*", "Dome ?"), exclude=("*Guider",))
    assert [
        name
        for name in ("CCD Simulator", "CCD Guider", "Dome 1", "ccd x", "Mount")
        if selection.has(name)
    ] == [
        "CCD Simulator",
        "Dome 1",
    ]
