"""What waits for the broker (contract 3.4).

Newest retained values, events in order, drops that are counted.
"""

import logging
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.errors import Forbidden
from busbar.mqtt.outbox import (
    OVERHEAD,
    POISON_TRIES,
    QUEUE_BYTES,
    QUEUE_LIMIT,
    REPLY_PATIENCE,
    Message,
    Outbox,
)


class Time:
    """Monotonic seconds that are set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def event(text: str, topic: str = "event", *, born: float | None = None) -> Message:
    return Message(topic, text.encode(), born=born)


def retain(outbox: Outbox, topic: str, value: str) -> None:
    outbox.retain(topic, partial(str.encode, value))


def leaf(outbox: Outbox, topic: str, value: str) -> None:
    outbox.leaf(topic, partial(str.encode, value))


def pull_all(outbox: Outbox) -> list[Message]:
    return list(iter(outbox.pull, None))


def texts(messages: list[Message]) -> list[str]:
    return [message.payload.decode() for message in messages]


def drain(outbox: Outbox) -> list[str]:
    return texts(pull_all(outbox))


def test_an_empty_outbox_has_nothing_to_send():
    outbox = Outbox()
    assert outbox.pull() is None
    assert outbox.empty


def test_retained_topics_go_first_then_events_and_replies_in_order_then_leaves():
    outbox = Outbox()
    leaf(outbox, "state/a", "leaf")
    outbox.put(event("1"))
    outbox.put(event("2", "reply"))
    outbox.put(event("3"))
    retain(outbox, "state", "snapshot")
    retain(outbox, "status", "status")
    assert drain(outbox) == ["snapshot", "status", "1", "2", "3", "leaf"]


def test_a_retained_topic_is_sent_at_qos_1_and_a_leaf_at_qos_0():
    outbox = Outbox()
    retain(outbox, "state", "s")
    leaf(outbox, "state/a", "l")
    outbox.put(event("e"))
    assert pull_all(outbox) == [
        Message("state", b"s", qos=1, retain=True), Message("event", b"e", qos=1),
        Message("state/a", b"l", qos=0, retain=True),
    ]  # fmt: skip


@pytest.mark.parametrize("put", [retain, leaf])
def test_only_the_newest_value_of_a_retained_topic_is_sent(put):
    outbox = Outbox()
    for value in ("old", "older", "new"):
        put(outbox, "topic", value)
    assert drain(outbox) == ["new"]
    assert outbox.dropped == 0


def test_a_source_is_asked_when_its_message_can_be_sent():
    outbox, current = Outbox(), ["old"]
    outbox.retain("state", lambda: current[0].encode())
    current[0] = "new"
    assert drain(outbox) == ["new"]


@pytest.mark.parametrize("put", [Outbox.retain, Outbox.leaf])
def test_a_source_may_have_nothing_to_send(put):
    outbox = Outbox()
    put(outbox, "a", lambda: None)
    put(outbox, "b", lambda: b"b")
    assert drain(outbox) == ["b"]


def test_a_source_may_put_events_while_it_is_asked():
    """The snapshot flushes the changes before it."""
    outbox = Outbox()

    def source() -> bytes:
        outbox.put(event("change"))
        return b"snapshot"

    outbox.retain("state", source)
    assert drain(outbox) == ["snapshot", "change"]


def test_whoever_sends_is_woken():
    outbox, woken = Outbox(), []
    outbox.wake = lambda: woken.append(1)
    retain(outbox, "a", "a")
    leaf(outbox, "b", "b")
    outbox.put(event("c"))
    outbox.clear("d")
    assert len(woken) == 4
    outbox.leaf("e", lambda: b"e", wake=False)
    assert len(woken) == 4


def test_what_is_sent_is_counted():
    outbox = Outbox()
    retain(outbox, "a", "a")
    outbox.put(event("b"))
    assert (outbox.published, outbox.queued, outbox.empty) == (0, 1, False)
    drain(outbox)
    assert (outbox.published, outbox.queued, outbox.empty) == (2, 0, True)


# Bounds: never silently


def test_the_oldest_of_more_than_10_000_messages_are_dropped_and_counted():
    outbox = Outbox()
    for number in range(QUEUE_LIMIT + 3):
        outbox.put(event(str(number)))
    assert outbox.dropped == 3
    assert outbox.queued == QUEUE_LIMIT
    assert drain(outbox) == [str(number) for number in range(3, QUEUE_LIMIT + 3)]


def test_the_oldest_of_more_than_8_mebibytes_are_dropped_and_counted():
    outbox = Outbox()
    megabyte = "x" * (1024 * 1024 - 100)
    for number in range(10):
        outbox.put(event(f"{number}{megabyte}"))
    assert outbox.dropped == 2
    assert [text[0] for text in drain(outbox)] == list("23456789")


def test_the_bytes_of_what_was_sent_do_not_count_any_more():
    outbox = Outbox()
    megabyte = "x" * (1024 * 1024 - 100)
    for _ in range(5):
        for _ in range(5):
            outbox.put(event(megabyte))
        assert len(pull_all(outbox)) == 5
    assert outbox.dropped == 0


def test_a_message_larger_than_the_limit_is_dropped_and_counted():
    outbox = Outbox(limit=200)
    outbox.put(event("x" * (200 - OVERHEAD - len("event"))))
    outbox.put(event("x" * (200 - OVERHEAD - len("event") + 1)))
    assert outbox.dropped == 1
    assert len(pull_all(outbox)) == 1


def test_correlation_data_counts_for_the_size():
    assert Message("t", b"pp", correlation=b"ccc").size == 6 + OVERHEAD


def test_a_retained_value_larger_than_the_limit_is_dropped_and_counted():
    outbox = Outbox(limit=200)
    retain(outbox, "state", "x" * 200)
    retain(outbox, "status", "s")
    leaf(outbox, "state/a", "x" * 200)
    assert drain(outbox) == ["s"]
    assert outbox.dropped == 2


def test_what_a_broker_with_a_lower_limit_does_not_take_is_dropped_and_counted():
    outbox = Outbox(limit=1000)
    outbox.put(event("x" * 500))
    outbox.put(event("small"))
    outbox.lower(200)
    assert outbox.limit == 200
    assert drain(outbox) == ["small"]
    assert outbox.dropped == 1
    assert not outbox.busy("no such topic")


def test_a_broker_can_lower_the_limit_but_not_raise_it():
    outbox = Outbox(limit=1000)
    outbox.lower(200)
    outbox.lower(500)
    assert outbox.limit == 500
    outbox.lower(5000)
    assert outbox.limit == 1000
    outbox.lower(100)
    outbox.lower(None)
    assert outbox.limit == 1000


def test_a_flood_of_drops_is_one_line_in_the_log(caplog):
    time = Time()
    outbox = Outbox(limit=200, clock=time)
    with caplog.at_level(logging.WARNING, "busbar.outbox"):
        for _ in range(1000):
            outbox.put(event("x" * 200))
        assert caplog.messages == []
        outbox.report()
        outbox.put(event("x" * 200))
        outbox.report()
        assert caplog.messages == [
            (
                "dropped 1000 messages, most of them: 1000 on "
                "event: larger than the limit"
            )
        ]
        time.seconds += 10
        outbox.report()
    assert caplog.messages[1:] == [
        ("dropped 1 messages, most of them: 1 on event: larger than the limit")
    ]


def test_a_large_message_that_keeps_breaking_the_connection_is_given_up(caplog):
    time = Time()
    outbox = Outbox(clock=time)
    outbox.put(event("x" * 10_000))
    outbox.put(event("small"))
    for _ in range(POISON_TRIES):
        connect_and_break(outbox, time)
    assert "within seconds of sending event (10069 bytes)" in caplog.text
    assert drain(outbox) == ["small"]
    assert outbox.dropped == 1


def connect_and_break(outbox: Outbox, time: Time, seconds: float = 1.0) -> None:
    """Connect to a broker that tells no limit, and lose all that is sent."""
    outbox.lower(None)
    sent = pull_all(outbox)
    time.seconds += seconds
    outbox.returned(sent)


def test_a_retained_topic_that_keeps_breaking_the_connection_is_made_smaller(caplog):
    time = Time()
    outbox = Outbox(clock=time)
    sizes = []

    def info() -> bytes:
        """As much as fits, as the info of a device."""
        payload = b"i" * min(5000, outbox.limit - 100)
        sizes.append(len(payload))
        return payload

    while len(sizes) < 20:
        outbox.begin()
        outbox.retain("status", lambda: b"s" * 200)
        outbox.retain("info", info)
        outbox.lower(None)
        sent = pull_all(outbox)
        time.seconds += 1
        if all(message.size <= 2000 for message in sent):
            break
        outbox.returned(sent)
    assert len(sizes) == 2 * POISON_TRIES + 1
    assert {message.topic for message in sent} == {"status", "info"}
    assert len(caplog.records) == 2
    assert all("of sending info" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("size", "seconds", "other"),
    [(900, 1.0, ""), (10_000, 11.0, ""), (10_000, 1.0, "in between")],
    ids=["small", "connections that held", "not the same each time"],
)
def test_a_link_that_breaks_for_another_reason_makes_nothing_smaller(
    size: int, seconds: float, other: str
):
    time = Time()
    outbox = Outbox(clock=time)
    for number in range(2 * POISON_TRIES):
        outbox.begin()
        if not (other and number % POISON_TRIES == 0):
            retain(outbox, "info", "i" * size)
        connect_and_break(outbox, time, seconds)
    outbox.lower(None)
    assert outbox.limit == Outbox().limit


def test_a_source_that_raises_costs_its_message_only(caplog):
    outbox = Outbox()
    retain(outbox, "status", "s")
    for topic in ("info", "state"):
        outbox.retain(topic, lambda: 1 // 0)
    outbox.leaf("state/a", lambda: 1 // 0)
    leaf(outbox, "state/b", "b")
    outbox.put(event("e"))
    assert drain(outbox) == ["s", "e", "b"]
    assert outbox.dropped == 3
    assert "info cannot be published" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_source_that_keeps_raising_is_not_a_flood_of_tracebacks(caplog):
    time = Time()
    outbox = Outbox(clock=time)
    for _ in range(1000):
        outbox.retain("state", lambda: 1 // 0)
        assert outbox.pull() is None
    assert len(caplog.records) == 1
    outbox.report()
    assert "dropped 1000 messages" in caplog.messages[-1]


def test_what_the_broker_refuses_is_counted_and_not_waited_for():
    outbox = Outbox()
    outbox.put(event("x"))
    pulled = outbox.pull()
    assert pulled is not None
    outbox.refused(pulled, Forbidden("the broker refuses it: Not authorized"))
    assert outbox.dropped == 1
    assert not outbox.busy(pulled.topic)


def test_a_reply_waits_60_seconds_and_an_event_for_ever():
    time = Time()
    outbox = Outbox(clock=time)
    outbox.put(event("old reply", born=time.seconds))
    outbox.put(event("event"))
    time.seconds += REPLY_PATIENCE / 2
    outbox.put(event("new reply", born=time.seconds))
    time.seconds += REPLY_PATIENCE / 2 + 1
    assert drain(outbox) == ["event", "new reply"]
    assert outbox.dropped == 1


# The connection breaks, contract 5


def test_what_was_not_acknowledged_comes_back_in_order_before_the_rest():
    outbox = Outbox()
    for number in range(5):
        outbox.put(event(str(number)))
    sent = [outbox.pull() for _ in range(3)]
    outbox.delivered(sent[0])
    outbox.returned(sent[1:])
    assert drain(outbox) == ["1", "2", "3", "4"]


def test_a_retained_value_that_comes_back_never_hides_a_newer_one():
    outbox = Outbox()
    retain(outbox, "state", "old")
    retain(outbox, "status", "only")
    sent = pull_all(outbox)
    retain(outbox, "state", "new")
    outbox.returned(sent)
    assert sorted(drain(outbox)) == ["new", "only"]


def test_of_two_values_of_a_topic_that_come_back_the_newer_one_is_kept():
    outbox = Outbox()
    sent = []
    for value in ("old", "new"):
        retain(outbox, "state", value)
        sent += pull_all(outbox)
    outbox.returned(sent)
    assert drain(outbox) == ["new"]


def test_the_bytes_of_what_came_back_count_again():
    outbox = Outbox()
    megabyte = "x" * (1024 * 1024 - 100)
    for _ in range(8):
        outbox.put(event(megabyte))
    outbox.returned(pull_all(outbox))
    outbox.put(event("new"))
    assert outbox.dropped == 0
    outbox.put(event("y" * 10_000))
    assert outbox.dropped == 1
    assert drain(outbox)[-1] == "y" * 10_000


def test_after_a_connect_retained_topics_are_forgotten_except_those_to_remove():
    outbox = Outbox()
    retain(outbox, "state", "old")
    leaf(outbox, "state/a", "old")
    outbox.clear("gone")
    outbox.put(event("event"))
    outbox.begin()
    assert pull_all(outbox) == [
        Message("gone", b"", qos=1, retain=True),
        event("event"),
    ]


def test_a_removal_that_was_not_acknowledged_is_sent_again_after_the_next_connect():
    outbox = Outbox()
    outbox.clear("gone")
    outbox.returned(pull_all(outbox))
    outbox.begin()
    assert pull_all(outbox) == [Message("gone", b"", qos=1, retain=True)]


def test_a_removal_also_takes_back_the_leaf_that_waits():
    outbox = Outbox()
    leaf(outbox, "state/a", "5")
    outbox.clear("state/a")
    assert drain(outbox) == [""]


def test_a_topic_that_is_back_is_not_removed_any_more():
    outbox = Outbox()
    outbox.clear("state")
    retain(outbox, "state", "new")
    outbox.begin()
    retain(outbox, "state", "new")
    assert drain(outbox) == ["new"]


# busy: whether something is in flight


def test_a_topic_is_busy_until_the_broker_has_the_message():
    outbox = Outbox()
    outbox.put(event("1"))
    assert outbox.busy("event")
    assert not outbox.busy("reply")
    sent = outbox.pull()
    assert outbox.busy("event")
    outbox.delivered(sent)
    assert not outbox.busy("event")


def test_a_message_that_came_back_is_still_in_flight():
    outbox = Outbox()
    outbox.put(event("1"))
    outbox.returned(pull_all(outbox))
    assert outbox.busy("event")
    outbox.delivered(outbox.pull())
    assert not outbox.busy("event")


def test_a_message_too_large_to_send_does_not_hide_the_one_in_flight():
    outbox = Outbox(limit=200)
    outbox.put(event("1"))
    sent = outbox.pull()
    outbox.put(event("x" * 500))
    assert outbox.busy("event")
    outbox.delivered(sent)
    assert not outbox.busy("event")


def test_retained_messages_are_never_busy():
    outbox = Outbox()
    retain(outbox, "event", "1")
    outbox.delivered(outbox.pull())
    assert not outbox.busy("event")


topics = st.sampled_from(["a", "b"])
steps = st.one_of(
    st.tuples(st.just("put"), topics, st.sampled_from([1, 50, 500])),
    st.tuples(st.just("reply"), topics),
    st.tuples(st.just("pull")),
    st.tuples(st.just("delivered"), st.integers(0, 3)),
    st.tuples(st.just("lost")),
    st.tuples(st.just("time"), st.sampled_from([10.0, 61.0])),
    st.tuples(st.just("lower"), st.sampled_from([100, 200, None])),
)


@given(st.lists(steps, max_size=40))
def test_every_message_is_sent_or_counted_and_busy_knows_it(sequence):
    """Contract 3.4: never silently.

    Delivered + dropped + waiting + in flight = put, in order.
    """
    time = Time()
    outbox = Outbox(limit=300, clock=time)
    put, delivered = 0, 0
    flying: list[Message] = []
    for step in sequence:
        match step:
            case ("put", topic, size):
                outbox.put(event(f"{put:05}" + "x" * size, topic))
                put += 1
            case ("reply", topic):
                outbox.put(event(f"{put:05}", topic, born=time.seconds))
                put += 1
            case ("pull",):
                message = outbox.pull()
                flying += [message] if message else []
            case ("delivered", number) if number < len(flying):
                outbox.delivered(flying.pop(number))
                delivered += 1
            case ("lost",):
                outbox.returned(flying)
                flying = []
            case ("time", seconds):
                time.seconds += seconds
            case ("lower", limit):
                outbox.lower(limit)
        waiting = list(outbox._queue)
        assert put == delivered + outbox.dropped + len(waiting) + len(flying)
        assert outbox._bytes == sum(message.size for message in waiting) <= QUEUE_BYTES
        for topic in "ab":
            assert outbox.busy(topic) is any(
                message.topic == topic for message in waiting + flying
            )
        numbers = texts(
            [*sorted(flying, key=lambda message: message.payload), *waiting]
        )
        assert [text[:5] for text in numbers] == sorted(text[:5] for text in numbers)
