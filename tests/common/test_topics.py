"""The topic grammar, contract 1: topics of a bridge, private reply topics, filters."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from busbar.contract.topics import Address, Topics, matches
from busbar.errors import ConfigError, Forbidden

LEVEL_CHARACTERS = string.ascii_letters + string.digits + "_-"
levels = st.text(LEVEL_CHARACTERS, min_size=1, max_size=64)
# surrogates too: file names have them
names = st.text(st.characters(codec=None, exclude_categories=[]), max_size=100)


def busbar() -> Topics:
    return Topics("busbar", "lab")


@pytest.mark.parametrize("root", ["", "/", "a//b", "a/", "/a", "a/+", "a b", "$SYS"])
def test_a_root_with_a_bad_level_is_refused(root):
    with pytest.raises(ConfigError, match="root level"):
        Topics(root, "lab")


def test_the_bridge_name_reply_is_reserved():
    with pytest.raises(ConfigError, match="reserved"):
        Topics("busbar", "reply")


def test_a_root_of_several_levels_gives_a_client_id_without_slashes():
    topics = Topics("site/hall-2", "lab")
    assert topics.client_id == "site.hall-2.lab"
    assert topics.topic("psu", "status") == "site/hall-2/lab/psu/status"


def test_a_bridge_subscribes_to_its_own_commands_only():
    assert busbar().commands == ["busbar/lab/+/set/#", "busbar/lab/+/call/#"]


@pytest.mark.parametrize(
    "topic",
    ["psu/set", "psu/set/output", "psu/set/channel/1/voltage", "psu/call/query"],
)
def test_the_command_filters_cover_every_command_topic(topic):
    assert any(
        topic_matches_sub(pattern, f"busbar/lab/{topic}")
        for pattern in busbar().commands
    )


@pytest.mark.parametrize(
    "topic", ["psu/status", "psu/info", "psu/state", "psu/state/a/b", "psu/blob/image"]
)
def test_the_leftover_filters_cover_every_retained_topic(topic):
    assert any(
        topic_matches_sub(pattern, f"busbar/lab/{topic}")
        for pattern in busbar().leftovers
    )


@given(
    st.lists(levels, min_size=1, max_size=3).map("/".join),
    levels,
    levels,
    levels,
    st.lists(levels).map("/".join),
)
def test_what_is_built_is_parsed_back(root, bridge, device, channel, path):
    assume(bridge != "reply")
    topics = Topics(root, bridge)
    assert topics.parse(topics.topic(device, channel, path)) == Address(
        device, channel, path
    )


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "busbar",
        "busbar/lab",
        "busbar/lab/",
        "busbar/lab/psu",
        "busbar/lab/psu/",
        "busbar/lab//set",
        "busbar/labs/psu/set",
        "other/lab/psu/set",
        "busbar/reply/me",
    ],
)
def test_a_topic_that_is_not_ours_has_no_address(topic):
    assert busbar().parse(topic) is None


@given(names)
def test_any_topic_is_parsed_without_an_error(topic):
    busbar().parse("busbar/lab/" + topic)


@pytest.mark.parametrize(
    "rest", ["me", "me/1", "a/b/c", "a/b/c/d", "node red/1", "größe", "$x", "a" * 128]
)
def test_a_private_reply_topic_has_one_to_four_levels_below_reply(rest):
    assert (
        busbar().private_reply(f"busbar/reply/{rest}", "psu") == f"busbar/reply/{rest}"
    )


def test_the_own_reply_topic_counts_as_absent():
    assert busbar().private_reply("busbar/lab/psu/reply", "psu") is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "busbar/reply",
        "busbar/reply/",
        "busbar/reply//a",
        "busbar/reply/a/",
        "busbar/reply/a/b/c/d/e",
        "busbar/reply/+",
        "busbar/reply/a/#",
        "busbar/reply/a+b",
        "busbar/reply/a\x00b",
        "busbar/reply/a\n",
        "busbar/reply/" + "a" * 129,
        "busbar/lab/other/reply",
        "busbar/lab/psu/status",
        "busbar/lab/psu/call/output",
        "other/reply/a",
        "busbar/replying/a",
        "homeassistant/device/x/config",
        "$SYS/reply/a",
        "#",
        "BUSBAR/reply/a",
    ],
)
def test_any_other_reply_topic_is_forbidden(topic):
    with pytest.raises(Forbidden):
        busbar().private_reply(topic, "psu")


@pytest.mark.parametrize(
    "character",
    ["\x7f", "\x85", "\x9f", "\ud800", "\ufdd0", "\ufffe", "\U0001ffff", "\U0010fffe"],
)
def test_a_reply_topic_that_makes_the_broker_disconnect_us_is_forbidden(character):
    """Mosquitto 2.0 answers a PUBLISH with such a topic with `Malformed packet`
    (measured)."""
    with pytest.raises(Forbidden):
        busbar().private_reply(f"busbar/reply/a{character}", "psu")


def test_a_forbidden_reply_topic_is_not_repeated_at_length():
    with pytest.raises(Forbidden) as caught:
        busbar().private_reply("x" * 100_000, "psu")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a/b", False),
        ("a/b", "a", False),
        ("+", "a", True),
        ("+", "a/b", False),
        ("a/+", "a", False),
        ("a/+", "a/b", True),
        ("+/b", "a/b", True),
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("a/+/#", "a", False),
        ("a/+", "a/", True),
    ],
)
def test_a_filter_covers_a_path(pattern, path, covered):
    assert matches(pattern, path) is covered


few = st.sampled_from(["a", "b", ""])
filters = st.tuples(
    st.lists(st.sampled_from(["a", "b", "", "+"]), max_size=4),
    st.sampled_from([[], ["#"]]),
)


@given(
    filters.map(lambda parts: "/".join([*parts[0], *parts[1]])),
    st.lists(few, min_size=1, max_size=4).map("/".join),
)
def test_filters_follow_the_rules_of_mqtt(pattern, path):
    assume(pattern and path)
    assert matches(pattern, path) is topic_matches_sub(pattern, path)
