"""What the client hands out."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.client.types import Snapshot, Stale, error_of
from busbar.contract.messages import Fault, Info, PropertyInfo, ReplyError
from busbar.errors import BY_CODE, BusbarError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab/\u00fc"), inner, max_size=3)
    ),
    max_leaves=8,
)
INFO = Info(
    contract=1,
    bridge="lab",
    device="toy",
    boot="b",
    kind="toy",
    revision=1,
    commands={},
    events={},
    blobs={},
    properties={
        "a": PropertyInfo(
            schema={"type": "number"}, access="rw", class_="voltage", default=None
        )
    },
)


def snapshot(**fields: Any) -> Snapshot:
    given_: dict[str, Any] = {
        "values": {"a": 1},
        "times": {"a": 1.5},
        "bad": {},
        **fields,
    }
    return Snapshot("lab/toy", "online", 2.5, **given_)


@given(st.dictionaries(st.text("abc/"), JSON, max_size=4))
def test_a_snapshot_can_be_written_and_read(values: dict[str, Any]):
    made = snapshot(
        values=values,
        bad={"b": Fault("stale", "old")},
        stale=Fault("link", "gone"),
        info=INFO,
        notes={"a": "x"},
    )
    assert Snapshot.loads(made.dumps()) == made
    assert Snapshot.loads(made.dumps().encode()) == made


def test_a_snapshot_can_be_kept_in_a_file_whatever_the_locale(tmp_path: Path):
    made = snapshot(values={"name": "\u00fcber \u2126"})
    made.dump(tmp_path / "a.json")
    assert Snapshot.load(str(tmp_path / "a.json")) == made
    assert (tmp_path / "a.json").read_bytes().decode() == made.dumps()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"device": 1}', b"\xff"])
def test_what_is_no_snapshot_is_refused(text: str | bytes):
    with pytest.raises(ValueError):  # the texts are msgspec's
        Snapshot.loads(text)


def test_a_snapshot_cannot_be_changed():
    with pytest.raises(AttributeError):
        snapshot().device = "x"  # type: ignore[misc]  # that is the test


def test_a_stale_value_names_itself_and_why():
    error = Stale("lab/psu voltage", Fault("offline", "the device is stopped"))
    assert (str(error), error.fault.code) == (
        "lab/psu voltage: the device is stopped",
        "offline",
    )


@pytest.mark.parametrize("code", [*BY_CODE, "of the future"])
def test_an_outcome_becomes_the_error_of_its_code(code: str):
    error = error_of(ReplyError(code, "no", False, {"n": 1}))
    assert type(error) is BY_CODE.get(code, BusbarError)
    assert (str(error), error.message, error.detail) == ("no", "no", {"n": 1})
