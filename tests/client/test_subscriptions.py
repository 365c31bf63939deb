"""Who reads what."""

from typing import Any

import pytest

from busbar.client.queues import Queue
from busbar.client.subscriptions import CACHE_LIMIT, Subscription, Subscriptions, parse


@pytest.mark.parametrize(
    ("pattern", "parsed"),
    [
        ("lab/psu/state/voltage", ("lab/psu", "state", "voltage")),
        ("lab/psu/state/setpoint/voltage", ("lab/psu", "state", "setpoint/voltage")),
        ("+/+/state/#", ("+/+", "state", "#")),
        ("lab/+/state", ("lab/+", "state", "#")),
        ("lab/psu/event/beep", ("lab/psu", "event", "beep")),
        ("lab/psu/blob/image/0", ("lab/psu", "blob", "image/0")),
        ("+/+/status", ("+/+", "status", "#")),
    ],
)
def test_a_pattern_is_split_into_device_channel_and_path(
    pattern: str, parsed: tuple[str, str, str]
):
    assert parse(pattern) == parsed


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "lab",
        "lab/psu",
        "lab/psu/voltage",
        "#",
        "lab/#/state/x",
        "#/state/x",
        "lab/psu/status/x",
        "lab/psu/reply",
        "lab//state/x",
        "/psu/state/x",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(wrong: str):
    with pytest.raises(ValueError, match=r"<bridge>/<device>/state/<path>"):
        parse(wrong)


def add(
    subscriptions: Subscriptions, device: str, channel: str, path: str
) -> tuple[Queue[Any], Any]:
    queue: Queue[Any] = Queue()
    return queue, subscriptions.add(Subscription(device, channel, path, queue))


def test_a_queue_gets_what_fits_all_three():
    subscriptions = Subscriptions()
    one, _ = add(subscriptions, "lab/psu", "state", "voltage")
    every, _ = add(subscriptions, "+/+", "state", "#")
    assert subscriptions.of("lab/psu", "state", "voltage") == (one, every)
    assert subscriptions.of("lab/psu", "state", "current") == (every,)
    assert subscriptions.of("lab/dmm", "state", "voltage") == (every,)
    assert subscriptions.of("lab/psu", "event", "voltage") == ()


def test_who_comes_later_gets_topics_that_were_looked_up_before_and_who_has_left_none():
    left: list[int] = []
    subscriptions = Subscriptions(lambda: left.append(1))
    assert subscriptions.of("lab/psu", "state", "voltage") == ()
    queue, leave = add(subscriptions, "lab/psu", "state", "voltage")
    assert subscriptions.of("lab/psu", "state", "voltage") == (queue,)
    leave()
    leave()
    assert subscriptions.of("lab/psu", "state", "voltage") == ()
    assert left == [1]


def test_what_is_remembered_of_topics_is_bounded():
    subscriptions = Subscriptions()
    for number in range(CACHE_LIMIT + 10):
        subscriptions.of("lab/psu", "state", str(number))
    assert len(subscriptions._found) <= CACHE_LIMIT


def test_when_all_is_closed_every_queue_is():
    subscriptions = Subscriptions()
    queues = [
        add(subscriptions, "+/+", channel, "#")[0] for channel in ("state", "event")
    ]
    subscriptions.close()
    assert all(queue.closed for queue in queues)
