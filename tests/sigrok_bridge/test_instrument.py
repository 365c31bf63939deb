"""An instrument behind the real sigrok-cli, with its demo driver."""

import time
from pathlib import Path

import pytest

from busbar.errors import (
    BadRequest,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    ProtocolError,
    TooLarge,
)
from sigrok_bridge.capture import Wanted
from sigrok_bridge.instrument import Instrument
from sigrok_bridge.program import SigrokCli
from sigrok_bridge.settings import Device, driver
from tests.sigrok_bridge.doubles import Plugged

MEGA = 1_000_000


async def opened(**settings: object) -> tuple[Instrument, Plugged]:
    cli = Plugged()
    device = Device(**{"name": "analyser", "address": "demo", **settings})  # type: ignore[arg-type]
    instrument = Instrument(device, cli)
    await instrument.open()
    return instrument, cli


async def test_samples_of_all_channels_logic_and_analog() -> None:
    instrument, _ = await opened()
    came = await instrument.capture(Wanted((), MEGA, 500, None), None)
    assert (came.capture.rate, came.capture.samples) == (MEGA, 500)
    assert len(came.capture.logic) == 8
    assert {len(each) for each in came.capture.analog.values()} == {2000}


async def test_one_channel_of_many_is_not_zeros() -> None:
    """libsigrok 0.5.2 writes D3 alone as bit 0 and reads it as bit 3."""
    instrument, _ = await opened()
    wanted = Wanted(
        ("D3",), None, 64, None, group="Logic", options={"pattern": "incremental"}
    )
    came = await instrument.capture(wanted, None)
    assert came.capture.channels == ("D3",)
    assert set(came.capture.bits("D3")) == {0, 1}


async def test_a_trigger_tells_where_it_was_and_what_is_missing() -> None:
    instrument, cli = await opened()
    wanted = Wanted(("D0", "D1"), MEGA, 64, None, {"D0": "r"})
    came = await instrument.capture(wanted, None)
    assert came.trigger is not None
    assert 0 < came.trigger < 64
    bits = came.capture.bits("D0")
    assert (bits[came.trigger - 1], bits[came.trigger]) == (0, 1)
    fewer = await instrument.capture(
        Wanted(("D0", "D1"), MEGA, 8, None, {"D0": "r"}), None
    )
    assert fewer.capture.samples <= 8
    assert all("--scan" not in line for line in cli.lines)


async def test_without_a_trigger_it_ends_with_timeout() -> None:
    instrument, _ = await opened()
    options = {"pattern": "all-low"}
    wanted = Wanted(("D0",), None, 8, None, {"D0": "r"}, True, "Logic", options)
    before = time.monotonic()
    with pytest.raises(DeviceTimeout):
        await instrument.capture(wanted, 0.5)
    assert time.monotonic() - before < 20


async def test_comsrv_could_not_say_a_tenth_of_a_second() -> None:
    instrument, cli = await opened()
    came = await instrument.capture(Wanted(("D0",), None, None, 0.1), None)
    assert "--time 100" in cli.lines[-1]
    assert came.capture.samples > 0


@pytest.mark.parametrize("address", ["sigrok::demo", "demo"])
def test_comsrv_crashed_the_program_with_a_listed_address(address: str) -> None:
    assert driver(address) == "demo"


@pytest.mark.parametrize("address", ["", "-d", "demo x", "a::b", "demo:conn", "DEMO"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Device(name="a", address=address)


async def test_an_option_that_it_forgets_goes_with_each_capture() -> None:
    instrument, cli = await opened()
    option = instrument.options.option("averaging")
    assert option is not None
    assert await instrument.set(option, True) is True
    await instrument.capture(Wanted(("D0",), MEGA, 8, None), None)
    assert "averaging=on" in cli.lines[-1]


async def test_an_option_of_a_group_that_it_forgets_is_refused() -> None:
    instrument, _ = await opened()
    option = instrument.options.option("pattern", "Logic")
    assert option is not None
    with pytest.raises(DeviceRefused, match="forgets"):
        await instrument.set(option, "graycode")


async def test_decoders_tell_what_they_find_and_what_they_lack() -> None:
    instrument, _ = await opened()
    with pytest.raises(BadRequest):
        await instrument.decode(["uart:rx=D0"], None)
    await instrument.capture(Wanted(("D0",), 200_000, 3000, None), None)
    found = await instrument.decode(["uart:rx=D0:baudrate=10000"], None)
    assert found.found
    assert {each.decoder for each in found.found} == {"uart-1"}
    with pytest.raises(DeviceRefused, match="D9"):
        await instrument.decode(["uart:rx=D9"], None)
    with pytest.raises(DeviceRefused, match="nosuch"):
        await instrument.decode(["nosuch"], None)


async def test_a_capture_beyond_its_limit_is_refused_before() -> None:
    instrument, cli = await opened(capture_limit=1000)
    count = len(cli.lines)
    with pytest.raises(TooLarge):
        await instrument.capture(Wanted(("D0",), MEGA, 1001, None), None)
    assert len(cli.lines) == count


async def test_a_program_that_is_missing_is_a_lost_link_that_says_how(
    tmp_path: Path,
) -> None:
    device = Device(name="analyser", address="demo")
    instrument = Instrument(device, SigrokCli(str(tmp_path / "none")))
    with pytest.raises(LinkLost, match="apt install sigrok-cli"):
        await instrument.open()


async def test_a_crash_is_said_with_its_signal() -> None:
    cli = Plugged()
    ran = await cli.run(["-d", "sigrok::demo", "--show"], 10)
    with pytest.raises(ProtocolError, match="SIGSEGV"):
        ran.check()
