"""One item that fails costs this item: the device and the log."""

import logging

import pytest

from busbar.errors import DeviceTimeout, LinkLost
from tests.device import bench


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.levelno == logging.ERROR]


async def test_an_error_of_ours_marks_its_item_and_is_logged_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await bench()
    made.device.values({"voltage": 1.0, "current": 2.0})
    for text in ("1.5\x1c", "2.5\x1c"):
        try:
            float(text.replace("\x1c", "x"))
        except ValueError as error:
            made.device.failed(["voltage"], error)
    state = made.device.state
    assert state.bad.keys() == {"voltage"}
    assert state.bad["voltage"].code == "internal"
    assert "ValueError: could not convert" in state.bad["voltage"].message
    assert state.values == {"voltage": 1.0, "current": 2.0}
    assert made.bus.errors.count == 2
    [record] = logged(caplog)
    assert record.exc_info and "voltage: ValueError" in record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        LinkLost("gone"),
        ConnectionResetError(),
        TimeoutError(),
        ExceptionGroup("two", [LinkLost("gone")]),
    ],
)
async def test_what_ends_the_link_is_raised_again(error: Exception) -> None:
    made = await bench()
    with pytest.raises(type(error)):
        made.device.failed(["voltage"], error)
    assert not made.device.state.bad
    assert made.bus.errors.count == 0


async def test_an_error_of_the_device_keeps_its_code_and_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await bench()
    made.device.failed(["voltage"], DeviceTimeout("no answer"))
    assert made.device.state.bad["voltage"].code == "timeout"
    assert (made.bus.errors.count, logged(caplog)) == (0, [])


async def test_a_value_of_another_type_is_logged_once_with_who_said_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await bench()
    for value in ("noon", "midnight"):
        made.device.values({"voltage": value, "current": 1.0})
    assert made.device.state.values == {"current": 1.0}
    assert made.device.state.bad["voltage"].code == "internal"
    [record] = logged(caplog)
    assert "test_a_value_of_another_type" in str(record.stack_info)


async def test_an_event_that_cannot_be_said_costs_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await bench()
    made.device.event("beep", {"what": object()})
    made.device.event("beep", {"what": 1})
    sent = [each.topic for each in await made.publish() if "event/beep" in each.topic]
    assert len(sent) == 1
    assert made.bus.errors.count == 1
    assert "event beep" in logged(caplog)[0].getMessage()
