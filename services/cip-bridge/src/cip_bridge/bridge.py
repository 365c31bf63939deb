"""Links and descriptions: what the configuration asks for, in both roles."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from busbar.bridge import (
    ConfigError,
    Description,
    Link,
    LinkLost,
    Port,
    Service,
    by_path,
    commands,
)
from busbar.bridge import config as configuration
from busbar.bridge.streams import Trust, server_context, trust
from busbar.codecs import cip
from busbar.codecs.cip import Style
from cip_bridge.join_publisher import CLOCK, SKIPPED, Surface
from cip_bridge.join_state import Board
from cip_bridge.panel_role.conversation import Conversation, open_stream
from cip_bridge.panel_role.session import PanelSession
from cip_bridge.paths import Paths
from cip_bridge.processor_role.listener import Listener
from cip_bridge.processor_role.program import Seat
from cip_bridge.processor_role.session import PANELS, ProgramSession
from cip_bridge.refusals import Denied, Starting, UnknownIpId
from cip_bridge.settings import Config, Device, ours, place

STARTING = 120.0  # s in which a program that was there a moment ago may be loaded again


@dataclass
class _Asked:
    """What a link was made from.

    After a denial it is never the same again, so that `reload` tries anew.
    """

    devices: tuple[Device, ...]
    # a password_file may have changed where its name has not
    secrets: tuple[tuple[str, str] | None, ...]
    denied: Denied | None = field(default=None, compare=False)
    # loop time when it was online last
    left: float = field(default=-math.inf, compare=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Asked) or self.denied or other.denied:
            return False
        return (self.devices, self.secrets) == (other.devices, other.secrets)


def panel_link(settings: Device) -> Link:
    """Return the link to one processor; raise ConfigError."""
    credentials, tls = _credentials(settings), place(settings.address).tls
    with _named(settings.name):
        trusted = (
            trust(settings.ca_file, settings.fingerprint, settings.insecure)
            if tls
            else None
        )
    asked = _Asked((settings,), (credentials,))
    board, paths = Board(), Paths(settings.joins)

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[PanelSession]:
        if asked.denied is not None:
            raise asked.denied
        session = PanelSession(port.outlet(settings.name), board, paths)
        async with contextlib.AsyncExitStack() as stack:
            conversation = await _connect(settings, trusted, session, credentials)
            stack.push_async_callback(conversation.close)
            stack.push_async_callback(session.leave)
            session.attach(conversation)
            port.connecting()
            await conversation.greeted()
            await _sign_on(conversation, asked)
            await session.start()
            stack.callback(_remember, asked)
            yield session

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=asked,
    )


async def _sign_on(conversation: Conversation, asked: _Asked) -> None:
    try:
        await conversation.sign_on()
    except Denied as error:
        asked.denied = error
        raise
    except UnknownIpId as error:
        if asyncio.get_running_loop().time() > asked.left + STARTING:
            raise
        ipid = asked.devices[0].ipid
        raise Starting(
            f"IP-ID 0x{ipid:02X} is not defined, as while the program is loaded"
        ) from error


def _remember(asked: _Asked) -> None:
    asked.left = asyncio.get_running_loop().time()


@contextlib.contextmanager
def _named(device: str) -> Iterator[None]:
    """Say which device a problem with its files is of."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{device}: {error}") from error


async def _connect(
    settings: Device,
    trusted: Trust | None,
    session: PanelSession,
    credentials: tuple[str, str] | None,
) -> Conversation:
    where = place(settings.address)
    return Conversation(
        await open_stream(
            where.host, where.port, trusted, settings.name, settings.timeout
        ),
        _sign_on_message(settings),
        session.told,
        session.outputs,
        credentials=credentials,
        style=_style(settings),
        timeout=settings.timeout,
    )


def processor_link(devices: Sequence[Device]) -> Link:
    """Return the link of all IP-IDs at one address of ours."""
    first = devices[0]
    where = place(first.address)
    with _named(first.name):
        tls = (
            server_context(first.cert_file or "", first.key_file) if where.tls else None
        )
    secrets = tuple(map(_credentials, devices))
    boards, paths = (
        {each.name: Board() for each in devices},
        {each.name: Paths(each.joins) for each in devices},
    )

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[ProgramSession]:
        surfaces = {
            each.name: Surface(
                port.outlet(each.name), boards[each.name], paths[each.name]
            )
            for each in devices
        }
        seats = {
            each.name: _seat(each, surfaces[each.name], secret)
            for each, secret in zip(devices, secrets, strict=True)
        }
        listener = Listener(where.host, where.port, seats.values(), tls)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(listener)
            except OSError as error:
                raise LinkLost(
                    f"cannot listen on {where.host}:{where.port}: "
                    f"{error.strerror or error}"
                ) from error
            yield ProgramSession(surfaces, seats)

    about = {each.name: describe(each) for each in devices}
    return Link(
        first.name, first.address, open_, about, config=_Asked(tuple(devices), secrets)
    )


def _seat(
    settings: Device, surface: Surface, credentials: tuple[str, str] | None
) -> Seat:
    answer = bytes.fromhex(settings.result)
    return Seat(
        settings.ipid,
        surface.came,
        name=settings.name,
        board=surface.board,
        room=settings.room,
        credentials=credentials,
        result=cip.ConnectResult(0, answer[0], answer[1:]),
        style=_style(settings),
    )


def _sign_on_message(settings: Device) -> cip.SignOn:
    if settings.room is not None:
        return cip.RoomConnect(settings.ipid, settings.room)
    return (
        cip.Connect(settings.ipid)
        if settings.sign_on == "long"
        else cip.Connect.short(settings.ipid)
    )


def _style(settings: Device) -> Style:
    return Style(encoding=settings.serial_encoding, smart_offset=settings.smart_offset)


def _credentials(settings: Device) -> tuple[str, str] | None:
    with _named(settings.name):
        password = configuration.secret(
            settings.password, settings.password_file, "password"
        )
    return (
        None
        if settings.username is None or password is None
        else (settings.username, password)
    )


def describe(settings: Device) -> Description:
    """Describe a device: its joins, and what can be done with them in its role."""
    panel = settings.mode == "panel"
    own = [CLOCK, SKIPPED] if panel else [PANELS, SKIPPED]
    return Description(
        kind="cip",
        name=settings.title,
        properties={**Paths(settings.joins).properties(), **by_path(own)},
        commands=commands(PanelSession if panel else ProgramSession),
    )


def link(settings: Device) -> Link:
    """Return the link of one device."""
    return (
        panel_link(settings) if settings.mode == "panel" else processor_link([settings])
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration.

    One for each processor, one for each address of ours.
    """
    yield from (
        panel_link(device) for device in config.devices if device.mode == "panel"
    )
    yield from map(processor_link, ours(config.devices).values())


SERVICE = Service("cip", Config, links, Device, link)
