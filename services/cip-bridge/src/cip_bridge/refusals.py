"""Why there is no conversation with a processor, and when it is tried again.

Source: docs/protocols/cip.md, 4.4 and 5.4.
"""

from busbar.bridge.errors import DeviceRefused, LinkLost, Retry


class Unreachable(LinkLost):
    """No connection, no TLS, no answer, or an end before the update was through."""

    retry = Retry(1.0, 120.0, firm=True)


class Booting(LinkLost):
    """The processor is there, its program is not yet."""

    retry = Retry(2.0, 2.0, firm=True, soon=True)


class Starting(LinkLost):
    """The IP-ID is unknown that was known a moment ago.

    The program has been loaded again and is not up yet.
    """

    retry = Retry(2.0, 5.0, firm=True, soon=True)


class UnknownIpId(DeviceRefused):
    """The running program has no panel of this IP-ID.

    Designs get redeployed, so it is tried again.
    """

    retry = Retry(900.0, 900.0, firm=True)


class Denied(DeviceRefused):
    """Name and password are wanted, or wrong.

    To try them again and again would lock the account.
    """

    retry = Retry(86400.0, 86400.0)
