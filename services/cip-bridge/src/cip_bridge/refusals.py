"""Reasons for having no conversation with a processor, each with its retry.

Whatever it answers while it starts after a power cut, it is tried again within LONGEST.
Source: docs/protocols/cip.md, 4.4 and 5.4
"""

from busbar.bridge.errors import DeviceRefused, LinkLost, Retry

# s between attempts, so that a processor that is ready has its link within half a
# minute
LONGEST = 20.0


class Unreachable(LinkLost):
    """No connection, no TLS, no answer, or an end before the update was through."""

    retry = Retry(1.0, LONGEST, firm=True)


class Booting(LinkLost):
    """The processor is there, its program has not started yet."""

    retry = Retry(2.0, 2.0, firm=True, soon=True)


class Starting(LinkLost):
    """The IP-ID was known a moment ago: the program is being loaded again."""

    retry = Retry(2.0, 5.0, firm=True, soon=True)


class UnknownIpId(DeviceRefused):
    """The running program has no panel of this IP-ID.

    Or it is starting, or will be loaded again with other panels: so it is tried again.
    """

    retry = Retry(5.0, LONGEST, firm=True)


class Denied(DeviceRefused):
    """Username and password are wanted, or wrong.

    To try them again and again would lock the account: it is tried when somebody asks
    for it, and once a day.
    """

    retry = Retry(86400.0, 86400.0, firm=True)
