"""Run of `busbar demo`: a private broker, simulated bridges, five commands to try.

A bridge takes part when its package, named by the entry point group `busbar.bridges`,
has a module `simulator` and a file `example.yaml`. The simulator prints one line of
JSON when it is ready: the variables of the file, such as {"PSU_PORT": 40001}. Each of
them is an option of the simulator, too (`--psu-port 40001`), so that it can come back.
"""

import asyncio
import importlib.util
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from busbar.cli.demo import tour
from busbar.cli.demo.processes import Child, Failed, broker, choose_port, first, running
from busbar.cli.demo.screen import Screen
from busbar.contract.messages import Status
from busbar.net.endpoint import Endpoint

LIMIT = 30.0  # s until everything has to be online
# s before a simulator that ended starts again: long enough to see what that looks like
PAUSE = 5.0
# s for what a device announces on connecting: `info` follows after 0.2 s of quiet
# (contract 3.2)
SETTLE = 0.5
GROUP = "busbar.bridges"
CLIENTS = (
    "mosquitto_sub, mosquitto_pub, mosquitto_rr are not installed: sudo apt-get "
    "install mosquitto-clients"
)


def run(duration: float | None, port: int | None) -> int:
    """Run until SIGINT or SIGTERM, or for so long (s) after everything is online.

    Return the exit code.
    """
    screen = Screen(sys.stdout)
    try:
        asyncio.run(_run_until_signal(duration, port, screen))
    except Failed as error:
        screen.live("")
        print(f"busbar demo: {error}", file=sys.stderr)
        return 1
    return 0


async def _run_until_signal(
    duration: float | None, port: int | None, screen: Screen
) -> None:
    demo = Demo(duration, choose_port(port), screen)
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)

    async def wait() -> None:
        await ending.wait()

    await first(wait(), demo.run())
    screen.live("")


class Simulated:
    """One kind of bridge, on its simulator."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.simulator = Child(
            f"the {kind} simulator", sys.executable, "-P", "-m", f"{package}.simulator"
        )
        self._package = package
        self._variables: dict[str, Any] = {}

    async def ready(self) -> None:
        """Wait until the simulator is ready, and read the variables of the example."""
        self._variables = json.loads(await self.simulator.says("{"))

    def bridge(self, url: str) -> Child:
        """Return the bridge, which runs the example of its package."""
        program = (sys.executable, "-P", "-m", self._package)
        options = ("--config", str(_example(self._package)), "--broker", url)
        variables = {name: str(value) for name, value in self._variables.items()}
        name = f"the {self.kind} bridge"
        return Child(name, *program, *options, variables=variables)

    async def keep(self, screen: Screen) -> None:
        """Start the simulator again, a moment after it has ended, where it was."""
        where = []
        for name, value in self._variables.items():
            option = name.lower().replace("_", "-")
            where.append(f"--{option}={value}")
        while True:
            await self.simulator.ended()
            screen.line(
                f"{self.simulator.name} has ended; it starts again in {PAUSE:g} s"
            )
            await asyncio.sleep(PAUSE)
            await self.simulator.start(*where)
            # it has ended again, perhaps because its port was taken: another round
            with suppress(Failed):
                await self.simulator.says("{")
                screen.line(
                    f"{self.simulator.name} runs again; `kill {self.simulator.pid}` "
                    "ends this one"
                )


def _installed(screen: Screen) -> list[Simulated]:
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        missing = _missing(entry)
        if missing is not None:
            screen.line(f"{entry.name} bridge: left out, {missing} is not installed")
        elif _takes_part(entry):
            found.append(Simulated(entry.name, entry.value))
        else:
            screen.line(
                f"{entry.name} bridge: left out, it brings no simulator or no "
                f"example.yaml"
            )
    if not found:
        raise Failed(
            "no bridge is installed; in the repository: pip install "
            "./services/scpi-bridge"
        )
    return found


def _missing(entry: EntryPoint) -> str | None:
    """Return the program that a simulator needs and that is not there.

    A package names it as NEEDS; a plain module is run, never imported.
    """
    spec = importlib.util.find_spec(f"{entry.value}.simulator")
    if spec is None or spec.submodule_search_locations is None:
        return None
    needed = getattr(importlib.import_module(spec.name), "NEEDS", None)
    return needed if needed and shutil.which(needed) is None else None


def _takes_part(entry: EntryPoint) -> bool:
    simulator = importlib.util.find_spec(f"{entry.value}.simulator")
    return simulator is not None and _example(entry.value).exists()


def _program() -> str:
    """Return the command `busbar` to paste, relative where that is shorter."""
    path = Path(sys.executable).with_name("busbar")
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def _example(package: str) -> Path:
    return Path(str(resources.files(package))) / "example.yaml"


class Demo:
    """One run of the demo."""

    def __init__(self, duration: float | None, port: int, screen: Screen) -> None:
        self._duration = duration
        self._port = port
        self._screen = screen
        self._endpoint = Endpoint(f"mqtt://127.0.0.1:{port}")
        self._watch = tour.Watch()
        self._installed = _installed(screen)
        self._bridges: list[Child] = []

    async def run(self) -> None:
        """Start everything, show it, wait.

        Whatever ends this ends all in the opposite order. Raise Failed.
        """
        self._screen.live("starting the broker and the simulators")
        deadline = asyncio.get_running_loop().time() + LIMIT
        simulators = [each.simulator for each in self._installed]
        async with broker(self._port) as mosquitto, running(simulators):
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.gather(*(each.ready() for each in self._installed))
            except TimeoutError:
                raise Failed(self._excuse(simulators)) from None
            work = [
                mosquitto.mind(),
                self._watch.follow(self._endpoint),
                self._serve(deadline),
            ]
            work += [each.keep(self._screen) for each in self._installed]
            await first(*work)

    async def _serve(self, deadline: float) -> None:
        await self._watch.subscribed.wait()
        self._bridges = [each.bridge(self._endpoint.url) for each in self._installed]
        async with running(self._bridges):
            minding = [each.mind() for each in self._bridges]
            await first(self._present(deadline), *minding)
            self._watch.on_status = lambda key, status: None
            self._screen.live("ending")

    async def _present(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._watch.all_online(len(self._bridges), self._show_waiting)
        except TimeoutError:
            raise Failed(self._excuse(self._bridges)) from None
        await asyncio.sleep(SETTLE)
        self._show()
        self._watch.on_status = self._show_change
        if self._duration is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._duration)

    def _excuse(self, children: Sequence[Child]) -> str:
        """Return who is not online, with the logs of those that may be at fault."""
        ready = self._watch.kinds()
        at_fault = []
        for each, child in zip(self._installed, children, strict=True):
            if each.kind not in ready:
                at_fault.append(child)
        lines = [f"not everything is online within {LIMIT:g} s"]
        lines += self._watch.missing()
        for child in at_fault or children:
            lines += child.tail()
        return "\n".join(lines)

    def _show_waiting(self) -> None:
        missing = ", ".join(self._watch.missing()) or "the bridges"
        self._screen.live(f"waiting for {missing}")

    def _show(self) -> None:
        screen = self._screen
        screen.live("")
        screen.line(
            f"Busbar demo: broker on 127.0.0.1:{self._port}, simulated devices, "
            f"everything on this machine."
        )
        screen.line()
        self._show_table()
        screen.line()
        self._show_examples()
        command = f"{_program()} -b {self._endpoint.url} ls"
        screen.line("\nThe command line needs no topics; its --help has the rest:")
        screen.line(f"    {screen.paint(command, 'bold')}")
        screen.line()
        if shutil.which("mosquitto_rr") is None:
            screen.line(CLIENTS)
        ends = "Ctrl-C"
        if self._duration is not None:
            ends = f"This ends in {self._duration:g} s; Ctrl-C"
        screen.line(f"{ends} ends everything. From here on: which devices come and go.")
        self._show_live()

    def _show_table(self) -> None:
        rows = tour.table(self._watch)
        columns = zip(*rows, strict=True)
        widths = [max(map(len, column)) for column in columns]
        paint = self._screen.paint
        for number, row in enumerate(rows):
            cells = list(map(str.ljust, row, widths))
            cells[-1] = cells[-1].rstrip()
            if number:
                cells[-1] = paint(cells[-1], "good")
            else:
                cells = [paint(cell, "dim") for cell in cells]
            self._screen.line("  ".join(cells))

    def _show_examples(self) -> None:
        screen = self._screen
        pids = {each.kind: each.simulator.pid for each in self._installed}
        examples = tour.examples(self._port, self._watch.infos, pids, PAUSE)
        screen.line("Paste these into another terminal:")
        for number, each in enumerate(examples, start=1):
            screen.line(f"\n{number}. {each.says}")
            screen.line(f"    {screen.paint(each.command, 'bold')}")

    def _show_change(self, key: tour.Key, status: Status) -> None:
        style = "good" if status.state == "online" else "bad"
        state = self._screen.paint(tour.shown(status), style)
        name = "/".join(key)
        self._screen.line(f"{name}: {state}")
        self._show_live()

    def _show_live(self) -> None:
        statuses = self._watch.statuses.values()
        online = sum(each.state == "online" for each in statuses)
        self._screen.live(f"{online} of {len(statuses)} online; Ctrl-C ends the demo")
