"""ISO-TP: frames of the standard, both ends against each other, what goes wrong."""

import isotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs.isotp import CLASSIC, FD, Receiver, Sender, flow_control
from busbar.errors import OutOfRange, ProtocolError


def transfer(message, size=CLASSIC, padding=0xCC, block=0):
    """Send a message from end to end; return what came out and all frames."""
    sender, receiver = Sender(message, size, padding), Receiver(size=size, block=block)
    seen, found = [], []
    while not sender.done:
        frames = sender.frames()
        assert frames
        for data in frames:
            seen.append(data)
            whole, answer = receiver.feed(data)
            if whole is not None:
                found.append(whole)
            if answer is not None:
                assert sender.feed(answer)
    return found, seen


@given(
    st.binary(min_size=1, max_size=5000),
    st.sampled_from([CLASSIC, FD]),
    st.sampled_from([0xCC, None]),
    st.sampled_from([0, 1, 8]),
)
def test_a_message_arrives_once_and_whole(message, size, padding, block):
    found, seen = transfer(message, size, padding, block)
    assert found == [message]
    assert all(len(data) <= size for data in seen)


def test_every_length_up_to_what_two_frames_hold():
    for length in range(1, 200):
        for size in (CLASSIC, FD):
            assert transfer(bytes(range(length)), size)[0] == [bytes(range(length))]


def test_frames_as_the_standard_has_them():
    # ISO 15765-2, 9.6: single 0L, first 1LLL, consecutive 2N; above 4095 bytes 1000 and
    # four bytes of length.
    assert transfer(b"\x22\xf1\x90")[1] == [bytes.fromhex("0322f190cccccccc")]
    assert transfer(b"\x22\xf1\x90", padding=None)[1] == [bytes.fromhex("0322f190")]
    assert transfer(bytes(range(20)))[1] == [
        bytes.fromhex("1014000102030405"),
        bytes.fromhex("21060708090a0b0c"),
        bytes.fromhex("220d0e0f10111213"),
    ]
    assert transfer(bytes(5000))[1][0] == bytes.fromhex("100000001388") + bytes(2)
    assert transfer(bytes(60), FD)[1][0][:2] == bytes.fromhex("003c")


def test_the_sequence_number_goes_round():
    numbers = [data[0] for data in transfer(bytes(200))[1][1:]]
    assert numbers[14:17] == [0x2F, 0x20, 0x21]


def test_flow_control():
    assert flow_control(bytes.fromhex("3000050000000000")) == (0, 0, 0.005)
    assert flow_control(bytes.fromhex("300af3"))[1:] == (10, 0.0003)
    assert flow_control(bytes.fromhex("3000ff"))[2] == 0.127  # reserved
    assert flow_control(bytes.fromhex("0322f190")) is None


def test_the_receiver_says_when_and_how_fast():
    sender = Sender(bytes(100))
    sender.frames()
    assert sender.frames() == []  # nothing before flow control
    assert sender.feed(bytes.fromhex("300214"))
    assert (len(sender.frames()), sender.pause) == (2, 0.020)
    assert sender.frames() == []
    assert sender.feed(bytes.fromhex("310000"))  # wait
    assert sender.frames() == []
    assert not sender.feed(b"\x21\0\0")


def test_a_receiver_that_gives_up():
    sender = Sender(bytes(100))
    with pytest.raises(ProtocolError, match="no room"):
        sender.feed(bytes.fromhex("320000"))
    for _ in range(2):  # in a row, and not in all
        assert all(
            sender.feed(bytes.fromhex(each)) for each in ["310000"] * 20 + ["300000"]
        )
    with pytest.raises(ProtocolError, match="20 times"):
        [sender.feed(bytes.fromhex("310000")) for _ in range(21)]


def test_lost_parts_cost_their_message_only():
    receiver, parts = Receiver(), transfer(bytes(range(30)))[1]
    receiver.feed(parts[0])
    with pytest.raises(ProtocolError, match="part 2 of a message where 1 was next"):
        receiver.feed(parts[2])
    assert receiver.feed(parts[3]) == (None, None)
    assert [receiver.feed(each)[0] for each in parts][-1] == bytes(range(30))


def test_too_much_is_refused_both_ways():
    with pytest.raises(OutOfRange, match="1 to 65536"):
        Sender(bytes(65537))
    with pytest.raises(OutOfRange, match="0 bytes"):
        Sender(b"")
    whole, answer = Receiver(limit=100).feed(bytes.fromhex("1065000000000000"))
    assert (whole, answer[0]) == (None, 0x32)


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_garbage_then_good(garbage):
    receiver = Receiver()
    for data in garbage:
        try:
            receiver.feed(data)
        except ProtocolError:
            continue
    assert receiver.feed(b"\x02ok")[0] == b"ok"


# Against can-isotp, an independent peer, in memory.


class Their:
    """The far end."""

    def __init__(self, fd, block, faults):
        self.out, self.into = [], []
        options = {
            "tx_data_length": FD if fd else CLASSIC,
            "can_fd": fd,
            "tx_data_min_length": CLASSIC,
            "tx_padding": 0xAA,
            "blocksize": block,
            "stmin": 0,
            "max_frame_size": 10_000,
        }
        self.layer = isotp.TransportLayerLogic(
            self._receive,
            lambda message: self.out.append(bytes(message.data)),
            isotp.Address(isotp.AddressingMode.Normal_11bits, txid=2, rxid=1),
            faults.append,
            options,
        )

    def _receive(self, timeout):
        return (
            isotp.CanMessage(arbitration_id=1, data=self.into.pop(0))
            if self.into
            else None
        )


MESSAGES = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.integers(1, 6000).map(lambda size: (bytes(range(256)) * 24)[:size]),
)
WAYS = (MESSAGES, st.booleans(), st.sampled_from([0, 1, 8]))


@given(*WAYS, st.sampled_from([0xCC, None]))
def test_what_we_send_another_implementation_receives(message, fd, block, padding):
    faults = []
    their, sender = (
        Their(fd, block, faults),
        Sender(message, FD if fd else CLASSIC, padding),
    )
    while not sender.done:
        their.into += sender.frames()
        their.layer.process()
        for data in their.out:
            assert sender.feed(data)
        their.out.clear()
    assert (bytes(their.layer.recv()), faults) == (message, [])


@given(*WAYS)
def test_what_another_implementation_sends_we_receive(message, fd, block):
    faults, found = [], []
    their, receiver = (
        Their(fd, 0, faults),
        Receiver(size=FD if fd else CLASSIC, block=block),
    )
    their.layer.send(message)
    while not found:
        their.layer.process()
        assert their.out
        for data in their.out:
            whole, answer = receiver.feed(data)
            found += [] if whole is None else [whole]
            their.into += [] if answer is None else [answer]
        their.out.clear()
    assert (found, faults) == ([message], [])
