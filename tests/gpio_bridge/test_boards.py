"""Boards, and which line is meant.

The maps are those of docs/protocols/gpio.md, 2.2 (pins 22 and 24 unlike RPIO's).
"""

import pytest

from busbar.errors import DeviceRefused, OutOfRange, UnknownTarget
from gpio_bridge.backends import pinctrl
from gpio_bridge.pins.boards import HEADER_40, REVISION_1, REVISION_2, board
from gpio_bridge.pins.numbering import Pins, this_board


@pytest.mark.parametrize(
    ("code", "model", "revision", "memory", "maker", "processor", "generation"),
    [
        (0xC03111, "4B", "1.1", 4096, "Sony UK", "BCM2711", 3),
        (0xD04170, "5", "1.0", 8192, "Sony UK", "BCM2712", 3),
        (0x9000C1, "Zero W", "1.1", 512, "Sony UK", "BCM2835", 3),
        (0xA22082, "3B", "1.2", 1024, "Embest", "BCM2837", 3),
        (0x0002, "B", "1.0", 256, "Egoman", "BCM2835", 1),
        # the warranty bit of an overclocked one
        (0x1000003, "B", "1.0", 256, "Egoman", "BCM2835", 1),
        (0x000E, "B", "2.0", 512, "Sony UK", "BCM2835", 2),
        (0x0009, "A", "2.0", 256, "Qisda", "BCM2835", 2),
        (0x0010, "B+", "1.2", 512, "Sony UK", "BCM2835", 3),
    ],
)
def test_a_revision_code_tells_the_board(
    code, model, revision, memory, maker, processor, generation
):
    found = board(code)
    assert (found.model, found.revision, found.memory, found.maker) == (
        model,
        revision,
        memory,
        maker,
    )
    assert (found.processor, found.generation) == (processor, generation)


def test_a_board_that_is_newer_than_the_table_costs_its_names_only():
    found = board(0xF0FFFF & ~0xF | 1 << 23)
    assert (found.model, found.processor, found.generation) == (None, None, 3)
    assert "unknown revision" in found.title
    assert board(0x00FF).model is None


def test_the_headers_have_the_lines_that_they_have():
    assert (REVISION_1[3], REVISION_1[5], REVISION_1[13]) == (0, 1, 21)
    assert (REVISION_2[3], REVISION_2[5], REVISION_2[13]) == (2, 3, 27)
    assert (HEADER_40[22], HEADER_40[24]) == (25, 8)  # RPIO had 24 and 7 here
    assert (len(REVISION_1), len(REVISION_2), len(HEADER_40)) == (17, 17, 26)
    for table in (REVISION_1, REVISION_2, HEADER_40):
        assert len(set(table.values())) == len(table)
    assert sorted(HEADER_40.values()) == list(range(2, 28))
    assert board(0x000E).lines[-4:] == (28, 29, 30, 31)


def test_this_board_is_read_from_the_device_tree_or_from_cpuinfo(tmp_path):
    tree, cpuinfo = tmp_path / "revision", tmp_path / "cpuinfo"
    assert this_board(tree, cpuinfo) is None
    cpuinfo.write_text(
        "Hardware\t: BCM2835\nRevision\t: 000e\nModel\t: Raspberry Pi Model B Rev 2\n"
    )
    assert this_board(tree, cpuinfo).model == "B"
    cpuinfo.write_text("Revision : 000e\nModel : something else\n")
    assert this_board(tree, cpuinfo) is None
    tree.write_bytes((0xC03111).to_bytes(4, "big"))
    assert this_board(tree, cpuinfo).model == "4B"


def pins(numbering="BCM", code=0xC03111, count=54):
    return Pins(
        numbering,
        board(code) if code else None,
        count,
        lambda name: int(name.removeprefix("GPIO")),
    )


def test_a_line_is_found_by_every_number():
    assert pins().offset(17) == 17
    assert pins("BOARD").offset(11) == 17
    assert pins().offset(22, "BOARD") == 25
    assert pins("names").offset("GPIO9") == 9
    assert pins("BOARD").offset(17, "BCM") == 17
    assert (pins().pin(17), pins().pin(28)) == (11, None)
    assert pins("BOARD", 0x0002).offset(3) == 0
    assert pins("offset", None).header() == list(range(54))
    assert pins(count=6).header() == [2, 3, 4, 5]


def test_what_is_no_line_is_refused_with_what_is():
    with pytest.raises(OutOfRange, match=r"no line 54; allowed: 0 to 53"):
        pins().offset(54)
    with pytest.raises(
        OutOfRange,
        match=(
            r"pin 6 of Raspberry Pi 4B is no GPIO "
            r"line; those are: 3, 5, 7"
        ),
    ):
        pins("BOARD").offset(6)
    with pytest.raises(UnknownTarget, match="no Raspberry Pi that is known"):
        pins("BOARD", None).offset(11)
    with pytest.raises(UnknownTarget, match="numbering: names"):
        pins("names").offset(11)


MUXES = """Pinmux settings per pin
Format: pin (name): mux_owner gpio_owner hog?
pin 2 (gpio2): fe804000.i2c (GPIO UNCLAIMED) function alt0 group gpio2
pin 3 (gpio3): (MUX UNCLAIMED) (GPIO UNCLAIMED)
pin 17 (gpio17): (MUX UNCLAIMED) pinctrl-bcm2711:17
"""


def test_functions_are_those_of_pinctrl_where_it_can_be_read(tmp_path):
    assert pinctrl.parse(MUXES) == {2: "alt0"}
    with pytest.raises(DeviceRefused, match="debugfs is not mounted"):
        pinctrl.functions("pinctrl-bcm2711", tmp_path / "nowhere")
    with pytest.raises(DeviceRefused, match="none for 'pinctrl-rp1'"):
        pinctrl.functions("pinctrl-rp1", tmp_path)
    folder = tmp_path / "fe200000.gpio-pinctrl-bcm2711"
    folder.mkdir()
    (folder / "pinmux-pins").write_text(MUXES)
    assert pinctrl.functions("pinctrl-bcm2711", tmp_path) == {2: "alt0"}
    (folder / "pinmux-pins").unlink()
    (folder / "pinmux-pins").mkdir()  # cannot be opened, for root neither
    with pytest.raises(DeviceRefused, match="it is for root"):
        pinctrl.functions("pinctrl-bcm2711", tmp_path)
