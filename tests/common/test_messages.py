"""The wire messages.

What commands may hold (contract 2), how what we publish looks (contract 3).
"""

import json

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busbar.contract import messages
from busbar.contract.messages import (
    Change,
    Fault,
    Metadata,
    Reply,
    ReplyError,
    State,
    Status,
)
from busbar.errors import BadRequest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=10,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def metadata(**keys: object) -> Metadata:
    return messages.take_metadata({f"_{key}": value for key, value in keys.items()})[1]


@given(json_values)
def test_json_is_read_as_json(value):
    assert messages.decode(json.dumps(value).encode()) == value


@given(st.dictionaries(st.text(), json_values, max_size=20))
def test_a_messagepack_map_is_read_like_the_same_json_object(fields):
    """The first byte tells: 0x80-0x8f, 0xde, 0xdf. An independent program writes it."""
    assert messages.decode(msgpack.packb(fields)) == fields


def test_a_large_messagepack_map_is_recognised_too():
    fields = {str(number): number for number in range(16)}
    assert msgpack.packb(fields)[0] == 0xDE
    assert messages.decode(msgpack.packb(fields)) == fields


@pytest.mark.parametrize("head", range(256))
def test_only_the_heads_of_maps_are_messagepack(head):
    assert messages.is_msgpack_map(bytes([head])) is (
        0x80 <= head <= 0x8F or head in (0xDE, 0xDF)
    )


@given(
    st.binary(max_size=200)
    | st.builds(
        bytes.__add__, st.sampled_from([b"\x81", b"\xde\x00", b"{", b"["]), st.binary()
    )
)
@example(b"")
@example(b"\x80")
@example(b"\x81\x80\x01")  # a map as a key
@example(b"\x81\xa1\xff\x01")  # a key that is not UTF-8
@example(b"\x81\xa1a\xd6\xff\x00\x00\x00\x00")  # a timestamp
@example(b"1" * 5000)
@example(b'"\\ud800"')
@example(nested(100_000))
@example(b"\x81\xa1a" * 100_000)
def test_hostile_bytes_give_a_value_or_bad_request(payload):
    try:
        value = messages.decode(payload)
    except BadRequest as error:
        assert len(error.message) < 400
    else:
        messages.encode(value)


@pytest.mark.parametrize(
    "payload", [b"1e999", b"-1e999", b"NaN", b"Infinity", b'{"a": [1e999]}']
)
def test_numbers_must_be_finite(payload):
    with pytest.raises(BadRequest):
        messages.decode(payload)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_of_a_messagepack_map_must_be_finite_too(number):
    with pytest.raises(BadRequest, match="finite"):
        messages.decode(msgpack.packb({"a": [number]}))


def test_depth_16_is_read_and_17_is_refused():
    messages.decode(nested(16))
    with pytest.raises(BadRequest, match="16 levels deep"):
        messages.decode(nested(17))


def test_depth_counts_in_a_messagepack_map_too():
    value: object = 1
    for _ in range(15):
        value = {"a": value}
    messages.decode(msgpack.packb(value))
    with pytest.raises(BadRequest, match="16 levels deep"):
        messages.decode(msgpack.packb({"a": {"a": value}}))


def test_the_number_of_values_in_one_command_is_bounded():
    messages.decode(json.dumps([0] * (messages.STRUCTURE_LIMIT - 1)).encode())
    with pytest.raises(BadRequest, match="20000 values"):
        messages.decode(json.dumps([0] * messages.STRUCTURE_LIMIT).encode())


@pytest.mark.parametrize("key", [1, None, b"a", True])
def test_keys_of_a_messagepack_map_are_text(key):
    with pytest.raises(BadRequest, match="text"):
        messages.decode(msgpack.packb({key: 1}))


def test_a_payload_is_shown_short_and_printable():
    assert messages.shown(b"a\xff") == "'a\ufffd'"
    assert messages.shown(b"x" * 1000) == f"'{'x' * 40}'... (1000 bytes)"


def test_metadata_is_taken_out_of_an_object():
    fields = {
        "_id": "abc",
        "volts": 5,
        "_ttl": 2,
        "_reply": "r",
        "_sent": 1.5,
        "_timeout": 3,
        "_wait": 4,
        "_lease": "l",
    }
    own, found = messages.take_metadata(fields)
    assert own == {"volts": 5}
    assert found == Metadata(
        id="abc", reply="r", ttl=2.0, sent=1.5, timeout=3.0, wait=4.0, lease="l"
    )


def test_misspelt_metadata_stays_with_the_own_keys_so_that_it_is_refused():
    assert messages.take_metadata({"_tll": 1, "_ID": 2})[0] == {"_tll": 1, "_ID": 2}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", 1.5),
        ("id", True),
        ("id", ["a"]),
        ("id", "x" * 257),
        ("reply", 1),
        ("ttl", "5"),
        ("ttl", True),
        ("ttl", -1),
        ("ttl", 86401),
        ("timeout", -0.1),
        ("timeout", 1e9),
        ("wait", -1),
        ("wait", [1]),
        ("sent", "now"),
        ("lease", 5),
    ],
)
def test_metadata_of_a_wrong_type_or_size_is_refused_by_its_name(key, value):
    with pytest.raises(BadRequest, match=f"_{key}"):
        metadata(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "x" * 256),
        ("id", 7),
        ("id", ""),
        ("ttl", 0),
        ("ttl", 86400),
        ("wait", 0.5),
        ("sent", 1.7e9),
        ("id", None),
    ],
)
def test_metadata_at_its_limits_is_taken(key, value):
    assert getattr(metadata(**{key: value}), key) == value


def encoded(message: msgspec.Struct) -> dict[str, object]:
    return json.loads(messages.encode(message))


def test_status_looks_as_the_contract_says():
    """Contract 3.1."""
    status = Status("online", 1.5, "9f2c61aa", 3, 812)
    assert encoded(status) == {
        "state": "online",
        "since": 1.5,
        "boot": "9f2c61aa",
        "revision": 3,
        "seq": 812,
        "reason": None,
    }


def test_a_snapshot_looks_as_the_contract_says():
    """Contract 3.3."""
    state = State(
        "b", 812, 2.0, {"a": None}, {"a": Fault("not_a_number", "why")}, {"a": 1.0}
    )
    assert encoded(state) == {
        "boot": "b",
        "seq": 812,
        "time": 2.0,
        "values": {"a": None},
        "bad": {"a": {"code": "not_a_number", "message": "why"}},
        "times": {"a": 1.0},
    }
    assert "times" not in encoded(State("b", 812, 2.0, {}, {}))


def test_a_change_has_only_what_happened():
    """Contract 3.4."""
    assert encoded(Change("a", 1.0, 5)) == {"path": "a", "time": 1.0, "value": 5}
    assert encoded(Change("a", 1.0, bad=Fault("stale", "why"))) == {
        "path": "a",
        "time": 1.0,
        "bad": {"code": "stale", "message": "why"},
    }
    assert encoded(Change("a", 1.0, None, None)) == {
        "path": "a",
        "time": 1.0,
        "value": None,
        "bad": None,
    }
    assert encoded(Change("a", 1.0, gone=True)) == {
        "path": "a",
        "time": 1.0,
        "gone": True,
    }


def test_a_reply_has_a_result_or_an_error():
    """Contract 3.5."""
    head = {
        "bridge": "lab",
        "device": "psu",
        "id": "i",
        "target": "call/query",
        "time": 1.0,
        "took": 0.5,
    }
    assert encoded(Reply(**head, ok=True, result=None)) == {
        **head,
        "ok": True,
        "result": None,
    }
    error = ReplyError("link", "why", True, {})
    assert encoded(Reply(**head, ok=False, error=error)) == {
        **head,
        "ok": False,
        "error": {"code": "link", "message": "why", "retryable": True, "detail": {}},
    }


def test_bytes_inside_json_are_base64():
    assert messages.encode({"data": b"\x00\xff"}) == b'{"data":"AP8="}'


@given(json_values, st.randoms(use_true_random=False))
def test_equal_values_have_equal_canonical_bytes_whatever_their_order(value, random):
    def shuffled(item):
        if isinstance(item, dict):
            keys = list(item)
            random.shuffle(keys)
            return {key: shuffled(item[key]) for key in keys}
        return [shuffled(child) for child in item] if isinstance(item, list) else item

    assert messages.canonical(shuffled(value)) == messages.canonical(value)
