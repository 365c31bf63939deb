"""The topic grammar, contract 1: foreign names, topics of one bridge, private reply topics, filters."""

import hashlib
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from busbar.errors import ConfigError, Forbidden
from busbar.topics import LEVEL, Address, Topics, check_level, collisions, level, matches

LEVEL_CHARACTERS = string.ascii_letters + string.digits + "_-"
levels = st.text(LEVEL_CHARACTERS, min_size=1, max_size=64)
names = st.text(st.characters(codec=None, exclude_categories=[]), max_size=100)  # surrogates too: file names have them


def digest(original: str) -> str:
    return "-" + hashlib.sha256(original.encode()).hexdigest()[:6]


def busbar() -> Topics:
    return Topics("busbar", "lab")


@pytest.mark.parametrize(
    ("original", "mapped"),
    [
        ("voltage", "voltage"),
        ("CCD Exposure", "CCD_Exposure"),
        ("-3dB", "-3dB"),
        ("a" * 64, "a" * 64),
        ("_state", "x_state"),
        (" state", "x_state"),
        ("Temp.1", "Temp_1" + digest("Temp.1")),
        ("a/b", "a_b" + digest("a/b")),
        ("größe", "gr__e" + digest("größe")),
        ("a" * 65, "a" * 57 + digest("a" * 65)),
        ("_" + "a" * 63, "x_" + "a" * 55 + digest("_" + "a" * 63)),
        ("", "x_" + digest("")),
        ("+", "x_" + digest("+")),
        ("#", "x_" + digest("#")),
        ("\x00", "x_" + digest("\x00")),
    ],
)
def test_a_foreign_name_becomes_one_level(original, mapped):
    assert level(original) == mapped


@given(names)
@example("\ud800")
@example("ﬀ" * 70)
def test_every_name_becomes_a_valid_level_and_always_the_same(name):
    mapped = level(name)
    assert LEVEL.fullmatch(mapped)
    assert not mapped.startswith("_")  # reserved for what the bridge adds
    assert level(name) == mapped


@given(st.sets(names, max_size=30))
def test_different_names_meet_only_through_spaces_and_leading_underscores(originals):
    """A space meets `_` and `x_` meets `_`: declared by the contract; everything else has a digest."""
    mapped = {name: level(name) for name in originals}

    def declared(name: str) -> str:
        spaced = name.replace(" ", "_")
        return f"x{spaced}" if spaced.startswith("_") else spaced

    for one in collisions(mapped):
        assert any(other != one and declared(other) == declared(one) for other in originals)


@given(levels.filter(lambda name: not name.startswith("_")))
def test_a_name_that_is_a_level_stays_as_it_is(name):
    assert level(name) == name


def test_names_that_meet_are_all_reported():
    originals = ["a b", "a_b", "_c", "x_c", "d"]
    assert collisions({name: level(name) for name in originals}) == {"a b", "a_b", "_c", "x_c"}


@given(st.dictionaries(st.integers().map(str), st.sampled_from("pqr")))
def test_collisions_are_exactly_the_names_that_share_a_path(paths):
    shared = {name for name, path in paths.items() if list(paths.values()).count(path) > 1}
    assert collisions(paths) == shared


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "a" * 65, "a\n", "+", "#"])
def test_a_name_that_is_no_level_is_refused_with_its_use(name):
    with pytest.raises(ConfigError, match=r"bridge name .* must be 1 to 64"):
        check_level(name, "bridge name")


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


@pytest.mark.parametrize("topic", ["psu/set", "psu/set/output", "psu/set/channel/1/voltage", "psu/call/query"])
def test_the_command_filters_cover_every_command_topic(topic):
    assert any(topic_matches_sub(pattern, f"busbar/lab/{topic}") for pattern in busbar().commands)


@pytest.mark.parametrize("topic", ["psu/status", "psu/info", "psu/state", "psu/state/a/b", "psu/blob/image"])
def test_the_leftover_filters_cover_every_retained_topic(topic):
    assert any(topic_matches_sub(pattern, f"busbar/lab/{topic}") for pattern in busbar().leftovers)


@given(st.lists(levels, min_size=1, max_size=3).map("/".join), levels, levels, levels, st.lists(levels).map("/".join))
def test_what_is_built_is_parsed_back(root, bridge, device, channel, path):
    assume(bridge != "reply")
    topics = Topics(root, bridge)
    assert topics.parse(topics.topic(device, channel, path)) == Address(device, channel, path)


@pytest.mark.parametrize(
    "topic", ["", "busbar", "busbar/lab", "busbar/lab/", "busbar/lab/psu", "busbar/lab/psu/", "busbar/lab//set",
              "busbar/labs/psu/set", "other/lab/psu/set", "busbar/reply/me"]
)  # fmt: skip
def test_a_topic_that_is_not_ours_has_no_address(topic):
    assert busbar().parse(topic) is None


@given(names)
def test_any_topic_is_parsed_without_an_error(topic):
    busbar().parse("busbar/lab/" + topic)


@pytest.mark.parametrize("rest", ["me", "me/1", "a/b/c", "a/b/c/d", "node red/1", "größe", "$x", "a" * 128])
def test_a_private_reply_topic_has_one_to_four_levels_below_reply(rest):
    assert busbar().private_reply(f"busbar/reply/{rest}", "psu") == f"busbar/reply/{rest}"


def test_the_own_reply_topic_counts_as_absent():
    assert busbar().private_reply("busbar/lab/psu/reply", "psu") is None


@pytest.mark.parametrize(
    "topic",
    [
        "", "busbar/reply", "busbar/reply/", "busbar/reply//a", "busbar/reply/a/", "busbar/reply/a/b/c/d/e",
        "busbar/reply/+", "busbar/reply/a/#", "busbar/reply/a+b", "busbar/reply/a\x00b", "busbar/reply/a\n",
        "busbar/reply/" + "a" * 129, "busbar/lab/other/reply", "busbar/lab/psu/status", "busbar/lab/psu/call/output",
        "other/reply/a", "busbar/replying/a", "homeassistant/device/x/config", "$SYS/reply/a", "#", "BUSBAR/reply/a",
    ],
)  # fmt: skip
def test_any_other_reply_topic_is_forbidden(topic):
    with pytest.raises(Forbidden):
        busbar().private_reply(topic, "psu")


@pytest.mark.parametrize(
    "character", ["\x7f", "\x85", "\x9f", "\ud800", "\ufdd0", "\ufffe", "\U0001ffff", "\U0010fffe"]
)
def test_a_reply_topic_that_makes_the_broker_disconnect_us_is_forbidden(character):
    """Mosquitto 2.0 answers a PUBLISH with such a topic with `Malformed packet` (measured)."""
    with pytest.raises(Forbidden):
        busbar().private_reply(f"busbar/reply/a{character}", "psu")


def test_a_forbidden_reply_topic_is_not_repeated_at_length():
    with pytest.raises(Forbidden) as caught:
        busbar().private_reply("x" * 100_000, "psu")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("a", "a", True), ("a", "b", False), ("a", "a/b", False), ("a/b", "a", False), ("+", "a", True),
        ("+", "a/b", False), ("a/+", "a", False), ("a/+", "a/b", True), ("+/b", "a/b", True), ("#", "a/b", True),
        ("a/#", "a", True), ("a/#", "a/b/c", True), ("a/#", "ab", False), ("a/+/#", "a", False), ("a/+", "a/", True),
    ],
)  # fmt: skip
def test_a_filter_covers_a_path(pattern, path, covered):
    assert matches(pattern, path) is covered


few = st.sampled_from(["a", "b", ""])
filters = st.tuples(st.lists(st.sampled_from(["a", "b", "", "+"]), max_size=4), st.sampled_from([[], ["#"]]))


@given(filters.map(lambda parts: "/".join([*parts[0], *parts[1]])), st.lists(few, min_size=1, max_size=4).map("/".join))
def test_filters_follow_the_rules_of_mqtt(pattern, path):
    assume(pattern and path)
    assert matches(pattern, path) is topic_matches_sub(pattern, path)
