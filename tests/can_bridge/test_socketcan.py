"""SocketCAN without a kernel that has it.

Its structures as python-can makes and reads them, a socket that fails.
"""

import errno
import os
import socket
import struct

import can
import pytest
from can.interfaces.socketcan import socketcan as theirs

from busbar.codecs import can as frames
from busbar.codecs import canlink
from busbar.codecs.can import ERROR, ESI, EXTENDED, SENT, Mask
from busbar.errors import BadRequest, LinkLost, Overloaded
from can_bridge.interfaces import bcm, socketcan
from can_bridge.interfaces.pythoncan import frame_of, message_of
from can_bridge.interfaces.socketcan import SocketCan, check, pack
from can_bridge.traffic import CanTraffic

KINDS = {
    "standard": frames.frame(0x123, b"abc"),
    "extended": frames.frame(0x1ABCDEF0, bytes(8), extended=True),
    "remote": frames.frame(0x7FF, remote=True, length=4),
    "FD": frames.frame(1, bytes(range(12)), fd=True),
    "FD, switched": frames.frame(
        0x1FFFFFFF, bytes(64), extended=True, fd=True, brs=True
    ),
}


@pytest.fixture
def pair():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    with near, far:
        yield near, far


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_read_alike_by_python_can(kind):
    frame = KINDS[kind]
    id_, length, flags, data = theirs.dissect_can_frame(pack(frame))
    assert id_ == theirs._compose_arbitration_id(message_of(frame))
    assert data == (frame.data or bytes(frame.length))
    assert length == frame.length
    assert flags == (
        0x04 | (0x01 if frame.flags & frames.BRS else 0)
        if frame.flags & frames.FD
        else 0
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_what_python_can_sends_is_received(kind, pair):
    near, far = pair
    far.send(theirs.build_can_frame(message_of(KINDS[kind])))
    (came,) = await SocketCan(near, "can0", 1, 1.0, False).receive()
    assert came[1:] == KINDS[kind][1:]


class Ending:
    """A CAN socket with one frame, and then an error."""

    def __init__(self, number):
        self._left, self._number = [pack(KINDS["standard"])], number

    def recvmsg(self, size, ancillary):
        if not self._left:
            raise OSError(self._number, os.strerror(self._number))
        return self._left.pop(), [], 0, None


async def test_an_interface_that_goes_down_ends_the_link_after_what_came_before():
    bus = SocketCan(Ending(errno.ENETDOWN), "can0", 1, 1.0, False)
    assert [frame.id for frame in await bus.receive()] == [0x123]
    with pytest.raises(LinkLost, match="can0 is down; as root: ip link set can0 up"):
        await bus.receive()


async def test_error_frames_and_the_error_state():
    bus = SocketCan(None, "can0", 1, 1.0, False)
    error = bus._frame(struct.pack("=IBBxx8s", 0x20000004, 8, 0, b"\0\x10"), [], 0)
    assert (error.id, error.flags, error.data[1]) == (4, ERROR, 0x10)
    passive = bus._frame(struct.pack("=IBBxx64s", 1, 64, 0x06, b""), [], 0)
    assert passive.flags == frames.FD | ESI


async def test_the_kernels_time_and_its_drop_counter():
    bus = SocketCan(None, "can0", 1, 1.0, False)
    ancillary = [
        # SO_TIMESTAMPNS
        (socket.SOL_SOCKET, 35, struct.pack("@ll", 1795276751, 891478999)),
        (socket.SOL_SOCKET, 40, struct.pack("=I", 7)),  # SO_RXQ_OVFL
    ]
    assert bus._frame(pack(KINDS["standard"]), ancillary, 0).time == 1795276751.891478
    assert bus.dropped == 7


@pytest.mark.parametrize("own", [False, True])
async def test_what_we_sent_comes_back_only_where_it_is_wanted(own):
    bus = SocketCan(None, "can0", 1, 1.0, own)
    raw = pack(KINDS["standard"])
    ours, others = socket.MSG_DONTROUTE | socket.MSG_CONFIRM, socket.MSG_DONTROUTE
    assert bus._frame(raw, [], others).flags == 0  # another program of this machine
    assert (bus._frame(raw, [], ours) is not None) is own
    # the kernel sends it for us, from another socket
    bus._cyclic[KINDS["standard"].key] = 1
    repeated = bus._frame(raw, [], others)
    assert (repeated.flags if own else repeated) == (SENT if own else None)


class Options:
    """A CAN socket that is only configured."""

    def setsockopt(self, *given):
        self.given = given


def test_filters_are_those_of_the_kernel():
    sock = Options()
    bus = SocketCan(sock, "can0", 1, 1.0, False)
    passes = lambda id_: any(  # noqa: E731
        not (id_ ^ want) & mask
        for want, mask in struct.iter_unpack("=II", sock.given[2])
    )
    bus.accept([Mask(0x100, 0x700, False), Mask(0x18FEF100, 0x00FFFF00, True)])
    assert sock.given[:2] == (socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER)
    assert [
        passes(each) for each in (0x123, 0x223, 0x80000123, 0x98FEF117, 0x98FEF217)
    ] == [True, 0, 0, True, 0]
    bus.accept([])
    assert not passes(0x123)
    bus.accept(None)
    assert passes(0x80000123)
    bus.accept([frames.exactly(each, False) for each in range(513)])
    assert passes(0x80000123)  # too many for a socket: everything comes


class Failing:
    """A CAN socket whose `send` fails so often."""

    def __init__(self, number, times=1_000_000):
        self.sent, self._number, self._times = [], number, times

    def send(self, raw):
        if self._times:
            self._times -= 1
            raise OSError(self._number, os.strerror(self._number))
        self.sent.append(raw)


FAILURES = [
    (errno.ENETDOWN, LinkLost, "can0 is down; as root: ip link set can0 up"),
    (errno.ENXIO, LinkLost, "can0 is gone"),
    (errno.EINVAL, BadRequest, "can0 does not take the frame: no CAN FD there?"),
    (errno.ENOBUFS, Overloaded, "the send queue of can0 has been full for 0.01 s"),
]


@pytest.mark.parametrize(("number", "kind", "why"), FAILURES)
async def test_a_send_that_fails_says_whose_fault_it_is(number, kind, why):
    with pytest.raises(kind, match=why):
        await SocketCan(Failing(number), "can0", 1, 0.01, False).send(KINDS["FD"])


async def test_a_full_queue_is_tried_again():
    sock = Failing(errno.ENOBUFS, 3)
    await SocketCan(sock, "can0", 1, 20.0, False).send(KINDS["standard"])
    assert sock.sent == [pack(KINDS["standard"])]


def broadcast(sock, frame, period=1.0, count=0):
    return bcm.BcmFrame(sock, frame, pack, period, count, lambda: None)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("period", [0.0005, 0.25, 0.9999999, 1.0, 86400.0])
def test_a_periodic_frame_is_set_up_as_python_can_does(period, count, pair):
    near, far = pair
    frame = KINDS["extended"]
    broadcast(near, frame, period, count)
    first, then = (period, 0.0) if count else (0.0, period)
    # TX_ANNOUNCE
    theirs_ = theirs.build_bcm_transmit_header(
        frame.id | 0x80000000, count, first, then, 0x008
    )
    raw = far.recv(1000)
    assert raw[len(theirs_) :] == pack(frame)
    ours, expected = (dict(fields(head)) for head in (raw, theirs_))
    for interval in ("ival1", "ival2"):  # python-can cuts off
        assert ours[f"{interval}_tv_usec"] < 1_000_000  # else the kernel refuses it
        time, wanted = (
            head.pop(f"{interval}_tv_sec") * 10**6 + head.pop(f"{interval}_tv_usec")
            for head in (ours, expected)
        )
        assert wanted <= time <= wanted + 1
    # TX_COUNTEVT, which tells nothing without a count
    assert ours.pop("flags") == expected.pop("flags") | 0x004
    assert ours == expected


def fields(raw):
    head = theirs.BcmMsgHead.from_buffer_copy(raw)
    return [
        (name, getattr(head, name))
        for name, _ in theirs.BcmMsgHead._fields_
        if not name.startswith("pad")
    ]


def test_a_periodic_frame_that_changes_keeps_its_times(pair):
    near, far = pair
    made = broadcast(near, KINDS["FD"])
    far.recv(1000)
    made.update(KINDS["FD"]._replace(data=bytes(12)))
    raw = far.recv(1000)
    # CAN_FD_FRAME, TX_ANNOUNCE, TX_COUNTEVT
    expected = theirs.build_bcm_update_header(1, 0x800 | 0x008 | 0x004)
    assert raw == expected + pack(KINDS["FD"]._replace(data=bytes(12)))


def test_a_periodic_frame_is_done_when_the_kernel_says_so(pair):
    near, far = pair
    made = broadcast(near, KINDS["standard"], count=3)
    assert not made.poll_ended()
    far.send(theirs.build_bcm_header(9, 0, 0, 0, 0, 0, 0, 0x123, 0))  # TX_EXPIRED
    assert made.poll_ended()
    assert made.poll_ended()


def test_a_periodic_frame_whose_interface_has_gone(pair):
    near, far = pair
    made = broadcast(near, KINDS["standard"])
    far.close()
    with pytest.raises(LinkLost, match="the kernel repeats this frame no more"):
        made.update(KINDS["standard"])


async def test_a_periodic_frame_with_another_identifier_is_another_one_for_the_kernel(
    monkeypatch,
):
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    opened = iter(ends)
    monkeypatch.setattr(bcm, "connected", lambda name: next(opened)[0])
    bus = SocketCan(Options(), "can0", 1, 1.0, True)
    line = CanTraffic("can0", bus, None, sends=True, fd=False, own=True)
    line.start("lamp", KINDS["standard"], 0.25)
    line.update("lamp", KINDS["standard"]._replace(data=b"xyz"))
    line.update("lamp", KINDS["extended"])
    kept, new = (far for _, far in ends)
    assert [dict(fields(kept.recv(1000)))["can_id"] for _ in range(2)] == [0x123, 0x123]
    made = dict(fields(new.recv(1000)))
    assert (made["can_id"], made["ival2_tv_usec"]) == (0x9ABCDEF0, 250_000)
    seen = lambda kind: (  # noqa: E731
        bus._frame(pack(KINDS[kind]), [], socket.MSG_DONTROUTE).flags & SENT
    )
    assert (seen("standard"), seen("extended")) == (0, SENT)
    line.close()
    assert not seen("extended")  # from here on it is another program's
    for _, far in ends:
        far.close()


async def test_a_periodic_frame_that_the_kernel_does_not_take(monkeypatch):
    def connected(name):
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(bcm, "connected", connected)
    bus = SocketCan(None, "can0", 1, 1.0, True)
    with pytest.raises(LinkLost, match="can0 is gone"):
        bus.cyclic(KINDS["standard"], 1.0, 0)
    assert (
        not bus._frame(pack(KINDS["standard"]), [], socket.MSG_DONTROUTE).flags & SENT
    )


async def test_an_interface_that_is_down_or_another_one_ends_the_link(monkeypatch):
    bus = SocketCan(None, "can0", 3, 1.0, False)
    for found, why in (
        (canlink.Interface(3, False), "can0 is down"),
        (canlink.Interface(4, True), "can0 is another interface than before"),
    ):
        monkeypatch.setattr(socketcan, "interface", lambda name, found=found: found)
        with pytest.raises(LinkLost, match=why):
            await bus.health()
    monkeypatch.setattr(
        socketcan,
        "interface",
        lambda name: canlink.Interface(3, True, "can", "passive", 500_000),
    )
    assert (await bus.health()).state == "passive"
    monkeypatch.setattr(
        socketcan,
        "interface",
        lambda name: canlink.Interface(3, True, "can", "stopped"),
    )
    assert (await bus.health()).state is None


WRONG = [
    ({"bitrate": 250_000}, "bitrate is 500000, not 250000"),
    ({"data_bitrate": 1_000_000}, "dbitrate is 2000000, not 1000000"),
    ({"listen": True}, "listen-only is off"),
]


@pytest.mark.parametrize(("wanted", "why"), WRONG)
def test_what_an_interface_must_have_is_said_with_the_command_that_root_needs(
    wanted, why
):
    found = canlink.Interface(
        1, True, "can", "active", 500_000, 2_000_000, 0.0, listen_only=False
    )
    given = {"bitrate": None, "data_bitrate": None, "listen": False, **wanted}
    with pytest.raises(
        LinkLost,
        match=(
            rf"can0: {why}; as root: ip link set can0 down "
            rf"&& ip link set can0 type can"
        ),
    ):
        check("can0", found, **given)
    check("can0", found, 500_000, 2_000_000, False)
    # it does not tell
    check("vcan0", canlink.Interface(1, True, "vcan"), 125_000, None, True)


def test_a_listen_only_interface_does_not_take_frames_silently():
    found = canlink.Interface(1, True, "can", "active", 500_000, listen_only=True)
    with pytest.raises(LinkLost, match="listen-only is on"):
        check("can0", found, 500_000, None, False)
    check("can0", found, 500_000, None, True)


def test_frames_of_python_can_are_ours():
    assert (
        frame_of(can.Message(arbitration_id=5, data=b"x", timestamp=2e9)).flags
        == EXTENDED
    )
