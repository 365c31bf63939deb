"""Link to one processor, to which we are a panel."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from busbar.bridge import Link, Port
from busbar.bridge.streams import Trust, trust
from busbar.codecs import cip
from cip_bridge.credentials import Credentials, credentials, naming
from cip_bridge.join_publisher import JoinPublisher, describe
from cip_bridge.join_state import JoinState
from cip_bridge.panel_role.commands import PanelCommands
from cip_bridge.panel_role.conversation import PanelConversation, open_stream
from cip_bridge.panel_role.session import CLOCK, PanelSession
from cip_bridge.paths import JoinPaths
from cip_bridge.refusals import Denied, Starting, UnknownIpId
from cip_bridge.settings import Device, place

STARTING = 120.0  # s in which a program that was there a moment ago may be loaded again


@dataclass
class _LinkConfig:
    """Settings that a link was made from, and what its last attempts have shown.

    After a denial it equals no other, so that `reload` makes a new link.
    """

    settings: Device
    # a password_file may have changed where its name has not
    credentials: Credentials | None
    denied: Denied | None = None
    online_at: float = -math.inf  # loop time when it was online last

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _LinkConfig) or self.denied or other.denied:
            return False
        return self._settings() == other._settings()

    def _settings(self) -> tuple[Device, Credentials | None]:
        return self.settings, self.credentials


def panel_link(settings: Device) -> Link:
    """Return the link to one processor; raise ConfigError."""
    config = _LinkConfig(settings, credentials(settings))
    trusted = _trust(settings)
    joins = JoinState()
    paths = JoinPaths(settings.joins)

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[PanelSession]:
        if config.denied is not None:
            raise config.denied
        async with contextlib.AsyncExitStack() as stack:
            conversation = await _connect(config, trusted)
            stack.push_async_callback(conversation.close)
            publisher = JoinPublisher(port.outlet(settings.name), joins, paths)
            session = PanelSession(publisher, conversation)
            stack.push_async_callback(session.leave)
            port.connecting()
            await conversation.wait_for_greeting()
            await _sign_on(conversation, config)
            await session.start()
            stack.callback(_note_online, config)
            yield session

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings, CLOCK, PanelCommands)},
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
        style=cip.Style(
            encoding=settings.serial_encoding, smart_offset=settings.smart_offset
        ),
        timeout=settings.timeout,
    )


def _sign_on_message(settings: Device) -> cip.SignOn:
    if settings.room is not None:
        return cip.RoomConnect(settings.ipid, settings.room)
    if settings.sign_on == "short":
        return cip.Connect.short(settings.ipid)
    return cip.Connect(settings.ipid)


async def _sign_on(conversation: PanelConversation, config: _LinkConfig) -> None:
    try:
        await conversation.sign_on()
    except Denied as error:
        config.denied = error
        raise
    except UnknownIpId as error:
        if asyncio.get_running_loop().time() > config.online_at + STARTING:
            raise
        ipid = config.settings.ipid
        raise Starting(
            f"IP-ID 0x{ipid:02X} is not defined, as while the program is loaded"
        ) from error


def _note_online(config: _LinkConfig) -> None:
    config.online_at = asyncio.get_running_loop().time()
