"""Link of one port that panels connect to, with all its IP-IDs."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from busbar.bridge import Link, LinkLost, Port
from busbar.bridge.streams import server_context
from busbar.codecs import cip
from cip_bridge.credentials import Credentials, credentials, naming
from cip_bridge.join_list import join_paths, named_joins
from cip_bridge.join_publisher import JoinPublisher, describe
from cip_bridge.join_state import JoinState
from cip_bridge.named_joins import NamedJoin
from cip_bridge.paths import JoinPaths
from cip_bridge.processor_role.commands import ProcessorCommands
from cip_bridge.processor_role.listener import PanelListener
from cip_bridge.processor_role.program import RunningProgram, Seat
from cip_bridge.processor_role.session import PANELS, ProcessorSession
from cip_bridge.settings import Device, place, style


@dataclass(frozen=True)
class _LinkConfig:
    """Settings that a link was made from."""

    devices: tuple[Device, ...]
    # a password_file may have changed where its name has not
    credentials: tuple[Credentials | None, ...]
    joins: tuple[tuple[NamedJoin, ...], ...]  # likewise joins_file


@dataclass(frozen=True)
class _SeatSettings:
    """What seats of one device are made from; its joins outlive a session."""

    settings: Device
    credentials: Credentials | None
    named: tuple[NamedJoin, ...]
    joins: JoinState
    paths: JoinPaths

    def publisher(self, port: Port) -> JoinPublisher:
        return JoinPublisher(port.outlet(self.settings.name), self.joins, self.paths)

    def seat(self, publisher: JoinPublisher) -> Seat:
        settings = self.settings
        result = bytes.fromhex(settings.result)
        return Seat(
            settings.ipid_number,
            partial(publisher.publish_received, as_events=True),
            name=settings.name,
            joins=self.joins,
            room=settings.room,
            credentials=self.credentials,
            result=cip.ConnectResult(0, result[0], result[1:]),
            style=style(settings),
        )


def processor_link(devices: Sequence[Device]) -> Link:
    """Return the link of all devices at one port of ours; raise ConfigError."""
    first = devices[0]
    tls = _server_tls(first)
    seat_settings = [_seat_settings(each) for each in devices]

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[ProcessorSession]:
        publishers: dict[str, JoinPublisher] = {}
        seats: dict[str, Seat] = {}
        for each in seat_settings:
            name = each.settings.name
            publishers[name] = each.publisher(port)
            seats[name] = each.seat(publishers[name])
        async with _listening(first, seats, tls):
            yield ProcessorSession(publishers, seats)

    secrets = tuple(each.credentials for each in seat_settings)
    named = tuple(each.named for each in seat_settings)
    descriptions = {}
    for each in seat_settings:
        descriptions[each.settings.name] = describe(
            each.settings, each.paths, [PANELS], ProcessorCommands
        )
    return Link(
        first.name,
        first.address,
        open_,
        descriptions,
        config=_LinkConfig(tuple(devices), secrets, named),
    )


def _seat_settings(settings: Device) -> _SeatSettings:
    named = named_joins(settings)
    paths = join_paths(settings, named)
    return _SeatSettings(
        settings, credentials(settings), named, JoinState(paths.output_of), paths
    )


def _server_tls(settings: Device) -> ssl.SSLContext | None:
    """Return our certificate, None without TLS; raise ConfigError."""
    with naming(settings.name):
        if not place(settings.address).tls:
            return None
        return server_context(settings.cert_file or "", settings.key_file)


@contextlib.asynccontextmanager
async def _listening(
    settings: Device, seats: Mapping[str, Seat], tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Listen for panels; raise LinkLost if the port cannot be had."""
    where = place(settings.address)
    program = RunningProgram(seats.values())
    listener = PanelListener(where.host, where.port, program, tls)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(listener)
        except OSError as error:
            raise LinkLost(
                f"cannot listen on {where.host}:{where.port}: {error.strerror or error}"
            ) from error
        yield
