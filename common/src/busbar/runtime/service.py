"""The process of a bridge: arguments, configuration, logging, signals, systemd."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from busbar.config import loader as configuration
from busbar.errors import BusbarError, ConfigError
from busbar.link.session import Link
from busbar.net.endpoint import Endpoint
from busbar.net.trace import LEVELS, set_level
from busbar.runtime import log as process_log
from busbar.runtime import signals, systemd, watchdog
from busbar.runtime.bridge import Bridge
from busbar.runtime.bridge_device import Found
from busbar.runtime.bridge_spec import BridgeSpec
from busbar.runtime.broker_session import DuplicateName

DEFAULT_URL = "mqtt://127.0.0.1:1883"
EXIT_DUPLICATE, EXIT_CONFIG = 69, 78  # EX_UNAVAILABLE and EX_CONFIG of sysexits.h

EPILOG = (
    "The broker: --broker, else $BUSBAR_URL, else `broker: url` of the file, else "
    f"{DEFAULT_URL}. Exit codes: {EXIT_CONFIG} configuration, {EXIT_DUPLICATE} another "
    "process runs a bridge of this name, 130 (SIGINT) or 143 (SIGTERM) ended by a "
    "second signal."
)

log = logging.getLogger("busbar.service")


@dataclass(frozen=True)
class Service:
    """A kind of bridge: its configuration, and the links that follow from it."""

    kind: str
    config: type[configuration.Config]
    links: Callable[[Any], Iterable[Link]]
    # settings of one device, for the command `open`
    device: type[msgspec.Struct] | None = None
    open: Callable[[Any], Link] | None = None
    scan: Callable[[], Awaitable[Sequence[Found]]] | None = None
    # bytes of the largest blob: they have an MQTT connection of their own
    blobs_apart: Callable[[Any], int] | None = None


def run(service: Service, argv: Sequence[str] | None = None) -> int:
    """Run a bridge until SIGTERM or SIGINT; return the exit code."""
    arguments = _arguments(service, argv)
    try:
        config, spec = _load(service, arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    if arguments.check:
        return _check(arguments.config, spec)
    as_json = (arguments.log_format or config.log.format) == "json"
    secrets = configuration.secrets_of(config)
    with process_log.started(as_json=as_json, secrets=secrets):
        set_level(LEVELS[arguments.log_level or config.log.level])
        return _serve(service, arguments, spec)


def _serve(service: Service, arguments: argparse.Namespace, spec: BridgeSpec) -> int:
    """Run until the end; return the exit code."""
    try:
        asyncio.run(_main(service, arguments, spec))
    except DuplicateName as error:
        log.error("%s", error)
        return EXIT_DUPLICATE
    return 0


def _check(file: str, spec: BridgeSpec) -> int:
    """Report what an offline look at the links finds; return the exit code."""
    problems = [link.problem for link in spec.links if link.problem]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return EXIT_CONFIG
    devices = sum(len(link.devices) for link in spec.links)
    print(f"{file}: fine; {spec.kind} bridge {spec.name!r}, {devices} devices")
    for link in spec.links:
        for name, description in link.devices.items():
            if description.model:  # which one it is at this address
                print(f"  {name}: {link.address}, {description.model}")
    return 0


def plan(
    service: Service, config: Any, url: str | None, environment: Mapping[str, str]
) -> BridgeSpec:
    """Return the bridge that a configuration asks for; raise ConfigError.

    The url of the argument wins, then BUSBAR_URL.
    """
    links = list(service.links(config))
    _check_names(link.name for link in links)
    _check_names(name for link in links for name in link.devices)
    broker, bridge = config.broker, config.bridge
    if bridge.folder and not Path(bridge.folder).is_dir():
        raise ConfigError(f"bridge.folder: there is no folder {bridge.folder}")
    url = url or environment.get("BUSBAR_URL") or broker.url or DEFAULT_URL
    folder = Path(bridge.folder) if bridge.folder else None
    blobs_apart = service.blobs_apart(config) if service.blobs_apart else 0
    return BridgeSpec(
        kind=service.kind,
        name=bridge.name,
        root=bridge.root,
        endpoint=_endpoint(broker, url),
        links=links,
        leaves=bridge.leaves,
        allow_open=bridge.allow_open,
        allow_shutdown=bridge.allow_shutdown,
        max_command=bridge.max_command,
        max_message=broker.max_message,
        folder=folder,
        blobs_apart=blobs_apart,
        opens=service.device,
        open=service.open,
        scan=service.scan,
    )


def _endpoint(broker: configuration.Broker, url: str) -> Endpoint:
    endpoint = Endpoint(
        url=url,
        username=broker.username,
        password=configuration.secret(
            broker.password, broker.password_file, "broker.password"
        ),
        protocol=broker.version,
        ca_file=broker.ca_file,
        cert_file=broker.cert_file,
        key_file=broker.key_file,
        insecure=broker.insecure,
        keepalive=broker.keepalive,
    )
    if endpoint.tls:
        endpoint.ssl_context()  # find files that cannot be used now
    return endpoint


def _check_names(names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            text = f"two devices are named {name!r}; each needs a name of its own"
            raise ConfigError(text)
        if name == "bridge":
            text = "a device cannot be named 'bridge': that is the bridge itself"
            raise ConfigError(text)
        seen.add(name)


def _load(service: Service, arguments: argparse.Namespace) -> tuple[Any, BridgeSpec]:
    config = configuration.load(Path(arguments.config), service.config, os.environ)
    return config, plan(service, config, arguments.broker, os.environ)


def _arguments(service: Service, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{service.kind}-bridge",
        description=f"{service.kind} devices on MQTT",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="configuration (YAML)"
    )
    parser.add_argument(
        "--broker", metavar="URL", help="mqtt://host, mqtts://host or unix:///path"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the configuration offline, then exit",
    )
    parser.add_argument(
        "--log-level", choices=list(LEVELS), help="trace shows every message both ways"
    )
    parser.add_argument("--log-format", choices=["text", "json"])
    return parser.parse_args(argv)


async def _main(
    service: Service, arguments: argparse.Namespace, first: BridgeSpec
) -> None:
    def replan() -> BridgeSpec:
        config, changed = _load(service, arguments)
        set_level(LEVELS[arguments.log_level or config.log.level])
        return changed

    bridge = Bridge(first, replan)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(bridge))
        reloads.add(task)  # the loop itself keeps no hold of its tasks
        task.add_done_callback(reloads.discard)

    feeding = asyncio.create_task(systemd.watchdog())
    systemd.notify("READY=1")
    try:
        with signals.handled(bridge.stop, reload), watchdog.watching():
            await bridge.run()
    finally:
        systemd.notify("STOPPING=1")
        feeding.cancel()


async def _reload(bridge: Bridge) -> None:
    systemd.notify("RELOADING=1")
    try:
        await bridge.reload()
    except BusbarError:
        return  # it has been logged, and the bridge runs on
    except Exception:  # our bug costs this reload only
        log.exception("the reload failed")
    finally:
        systemd.notify("READY=1")
