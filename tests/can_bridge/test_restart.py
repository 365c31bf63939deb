"""A controller of SocketCAN that is off, and is started again over rtnetlink."""

import errno
import socket
import struct

import pytest

from busbar.codecs import canlink
from busbar.errors import LinkLost
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.interfaces import socketcan
from tests.can_bridge.peer import configuration
from tests.running import running


def link_info(state, restart=0):
    """Return what the kernel answers for can0.

    Link 18 (kind 1, data 2: state 4, restart 6); linux/if_link.h.
    """
    attribute = lambda kind, data: struct.pack("=HH", 4 + len(data), kind) + data  # noqa: E731
    data = attribute(4, struct.pack("=I", state)) + attribute(
        6, struct.pack("=I", restart)
    )
    body = struct.pack("=BxHiII", 0, 280, 3, 1, 0) + attribute(
        18, attribute(1, b"can\0") + attribute(2, data)
    )
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 1, 0) + body


@pytest.fixture
def kernel(monkeypatch):
    """Answers of rtnetlink, one a question; what was asked is `asked`."""

    class Kernel:
        def __init__(self):
            self.pairs = []

        def answers(self, *answers):
            for answer in answers:
                near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
                far.send(answer)
                self.pairs.append((near, far))
            left = iter(self.pairs)
            monkeypatch.setattr(socketcan, "netlink", lambda: next(left)[0])

        def asked(self):
            # those that were used
            return [far.recv(1000) for near, far in self.pairs if near.fileno() < 0]

    made = Kernel()
    yield made
    for pair in made.pairs:
        for end in pair:
            end.close()


ACTIVE, OFF = 0, 3  # CAN_STATE_*
DONE, FORBIDDEN = (
    struct.pack("=IHHIIi", 36, 2, 0, 1, 0, code) for code in (0, -errno.EPERM)
)
LATER = "no CAN|cannot use can0"  # what comes after: this machine has no can0


CASES = [
    (link_info(OFF), True, 2),
    (link_info(OFF), False, 1),
    (link_info(ACTIVE), True, 1),
    (link_info(OFF, 100), True, 1),
]


@pytest.mark.parametrize(("found", "restarts", "tells"), CASES)
async def test_a_controller_that_is_off_is_started_again_where_that_is_configured(
    found, restarts, tells, kernel
):
    kernel.answers(found, DONE)
    with pytest.raises(LinkLost, match=LATER):
        async with socketcan.open_socketcan("can0", restarts=restarts):
            pass
    assert kernel.asked() == [canlink.request("can0"), canlink.restart(3)][:tells]


async def test_a_restart_that_needs_root_says_so(kernel):
    kernel.answers(*[link_info(OFF), FORBIDDEN] * 20)
    async with running(
        SERVICE, configuration("can::socket::can0", "    restart: 1\n")
    ) as bus:
        why = (
            "can0 is bus-off and cannot be restarted: Operation not permitted; as "
            "root: ip link set can0 down && ip"
        )
        await until(
            lambda: why in (bus.retained("can0", "status")["reason"] or {})["message"]
        )
