"""Requests to the kernel about a CAN interface, and its answers."""

import errno
import struct

import pytest

from busbar.codecs import canlink
from busbar.errors import ProtocolError


def attribute(kind, data):
    raw = struct.pack("=HH", 4 + len(data), kind) + data
    return raw.ljust((len(raw) + 3) & ~3, b"\0")


def link(kind, data=b"", flags=1):
    info = attribute(1, kind + b"\0") + (attribute(2, data) if data else b"")
    body = (
        struct.pack("=BxHiII", 0, 280, 3, flags, 0)
        + attribute(3, b"can0\0")
        + attribute(18, info)
    )
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 1, 0) + body


# linux/can/netlink.h: bit timing 1, state 4, control mode 5, restart 6, error counters
# 8, data bit timing 9.
DATA = (
    attribute(1, struct.pack("=8I", 500000, 875, 125, 6, 7, 2, 1, 3))
    + attribute(4, struct.pack("=I", 2))
    + attribute(5, struct.pack("=II", 0xFF, 0x02))
    + attribute(6, struct.pack("=I", 100))
    + attribute(8, struct.pack("=HH", 128, 7))
    + attribute(9, struct.pack("=8I", 2000000, 0, 0, 0, 0, 0, 0, 0))
)


def test_an_interface_with_everything():
    assert canlink.parse(link(b"can", DATA)) == canlink.Interface(
        3, True, "can", "passive", 500000, 2000000, 0.1, True, 128, 7
    )


def test_a_virtual_interface_tells_little():
    assert canlink.parse(link(b"vcan", flags=0)) == canlink.Interface(3, False, "vcan")


def test_the_request_names_the_interface():
    raw = canlink.request("can0")
    assert len(raw) == struct.unpack_from("=I", raw)[0] == 16 + 16 + 12
    assert b"can0\0" in raw


def test_a_restart_is_that_of_linux_can_netlink_h():
    about = attribute(
        18, attribute(1, b"can\0") + attribute(2, attribute(7, struct.pack("=I", 1)))
    )
    body = struct.pack("=BxHiII", 0, 0, 3, 0, 0) + about
    # NLM_F_ACK
    assert (
        canlink.restart(3)
        == struct.pack("=IHHII", 16 + len(body), 16, 1 | 4, 1, 0) + body
    )


def answered(code):
    return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, code)


def test_the_kernel_says_whether_it_has_done_it():
    assert canlink.check_acknowledged(answered(0)) is None
    with pytest.raises(OSError, match="refuses") as caught:
        canlink.check_acknowledged(answered(-errno.EPERM))
    assert caught.value.errno == errno.EPERM
    for other in (b"", answered(0)[:17], link(b"can")):
        with pytest.raises(ProtocolError):
            canlink.check_acknowledged(other)
    with pytest.raises(ProtocolError, match="message 2"):
        canlink.parse(answered(0))


def test_a_refusal_of_the_kernel():
    with pytest.raises(OSError, match="refuses") as caught:
        canlink.parse(answered(-errno.ENODEV))
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0" * 10, struct.pack("=IHHII", 16, 3, 0, 1, 0), link(b"can", DATA)[:20]],
)
def test_answers_that_are_none(raw):
    with pytest.raises((ProtocolError, OSError)):
        canlink.parse(raw)


def test_an_attribute_without_length():
    with pytest.raises(ProtocolError, match="attribute of 0 bytes"):
        canlink.parse(link(b"can")[:32] + bytes(8))
