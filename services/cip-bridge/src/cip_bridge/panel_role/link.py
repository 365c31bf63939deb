"""Link to one processor, to which we are a panel."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from busbar.bridge import Link, LinkLost, Port
from busbar.bridge.streams import ByteStream, Trust, open_tcp, trust
from busbar.codecs import cip
from cip_bridge.credentials import Credentials, credentials, naming
from cip_bridge.join_list import join_paths, named_joins
from cip_bridge.join_publisher import JoinPublisher, describe
from cip_bridge.join_state import JoinState
from cip_bridge.named_joins import NamedJoin
from cip_bridge.panel_role.commands import PanelCommands
from cip_bridge.panel_role.conversation import PanelConversation
from cip_bridge.panel_role.resend import Resend
from cip_bridge.panel_role.session import CLOCK, ENDED, PanelSession
from cip_bridge.refusals import Booting, Denied, Starting, UnknownIpId, Unreachable
from cip_bridge.settings import Device, place, style

STARTING = 120.0  # s in which a program that was there a moment ago may be loaded again


@dataclass
class _LinkConfig:
    """Settings that a link was made from, and what its last attempts have shown.

    After a denial it equals no other, so that `reload` makes a new link.
    """

    settings: Device
    # a password_file may have changed where its name has not
    credentials: Credentials | None
    joins: tuple[NamedJoin, ...] = ()  # likewise joins_file
    denied: bool = False
    proven: bool = False  # the processor has taken the credentials
    expected: bool = False  # the processor will be there in a moment
    left: bool = False  # we have left it ourselves: it has our outputs
    online_at: float = -math.inf  # loop time when it was online last

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _LinkConfig) or self.denied or other.denied:
            return False
        return self._settings() == other._settings()

    def _settings(self) -> tuple[object, ...]:
        return self.settings, self.credentials, self.joins

    def take_left(self) -> bool:
        """Return whether we have left the processor, and nothing failed since."""
        left = self.left
        self.left = False
        return left


def panel_link(settings: Device) -> Link:
    """Return the link to one processor; raise ConfigError."""
    config = _LinkConfig(settings, credentials(settings), named_joins(settings))
    trusted = _trust(settings)
    paths = join_paths(settings, config.joins)
    joins = JoinState(paths.output_of)

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[PanelSession]:
        resend = Resend(joins, paths, left=config.take_left())
        async with contextlib.AsyncExitStack() as stack:
            conversation = await _connect(config, trusted)
            stack.push_async_callback(conversation.close)
            publisher = JoinPublisher(
                port.outlet(settings.name), joins, paths, settings.name
            )
            session = PanelSession(publisher, conversation, resend)
            stack.push_async_callback(session.leave)
            await _sign_on(port, conversation, config)
            await session.start()
            stack.callback(_note_online, config)
            yield session
        config.left = True

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings, paths, (CLOCK, ENDED), PanelCommands)},
        config=config,
    )


def _trust(settings: Device) -> Trust | None:
    """Return whom to trust, None without TLS; raise ConfigError."""
    with naming(settings.name):
        if not place(settings.address).tls:
            return None
        return trust(settings.ca_file, settings.fingerprint, settings.insecure)


async def _connect(config: _LinkConfig, trusted: Trust | None) -> PanelConversation:
    settings = config.settings
    where = place(settings.address)
    stream = await open_stream(
        where.host, where.port, trusted, settings.name, settings.timeout
    )
    return PanelConversation(
        stream,
        _sign_on_message(settings),
        credentials=config.credentials,
        credentials_proven=config.proven,
        style=style(settings),
        timeout=settings.timeout,
    )


async def open_stream(
    host: str, port: int, trust: Trust | None, name: str, timeout: float
) -> ByteStream:
    """Connect within `timeout` (s), inside TLS with a trust; raise Unreachable."""
    try:
        return await open_tcp(host, port, name, timeout, trust)
    except LinkLost as error:
        raise Unreachable(_with_hint(error.message)) from error


def _with_hint(message: str) -> str:
    """Return why there is no connection, with what to look at for TLS."""
    if message.startswith("no TLS connection") or "WRONG_VERSION_NUMBER" in message:
        return f"{message} (does it speak plain CIP? then the address is cip::)"
    return message


def _sign_on_message(settings: Device) -> cip.SignOn:
    ipid = settings.ipid_number
    if settings.room is not None:
        return cip.RoomConnect(ipid, settings.room)
    if settings.sign_on == "short":
        return cip.Connect.short(ipid)
    return cip.Connect(ipid)


async def _sign_on(
    port: Port, conversation: PanelConversation, config: _LinkConfig
) -> None:
    """Sign on and log in; while the processor starts, the status says so."""
    if not config.expected:
        port.connecting()
    config.expected = False
    try:
        await conversation.wait_for_greeting()
        port.connecting()
        await conversation.sign_on()
    except Denied:
        config.denied = True
        raise
    except Booting:
        config.expected = True
        raise
    except UnknownIpId as error:
        if asyncio.get_running_loop().time() > config.online_at + STARTING:
            raise
        ipid = config.settings.ipid_number
        config.expected = True
        raise Starting(
            f"IP-ID 0x{ipid:02X} is not defined, as while the program is loaded"
        ) from error
    config.denied = False
    config.proven = True


def _note_online(config: _LinkConfig) -> None:
    config.online_at = asyncio.get_running_loop().time()
