"""examples/node-red in a real Node-RED on the real bridge."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from busbar.testing.fakes import until
from tests import npm
from tests.examples.node_red import NodeRed, node_red
from tests.examples.programs import LIMIT, ROOT, Bench, bench

pytestmark = pytest.mark.timeout(600)  # s; npm may have to download

FLOWS: list[dict[str, Any]] = json.loads(
    (ROOT / "examples" / "node-red" / "flows.json").read_text()
)


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    # before a bridge runs: the simulator would be silent meanwhile
    npm.modules("node-red")


@asynccontextmanager
async def flows(
    folder: Path, nodes: list[dict[str, Any]] = FLOWS
) -> AsyncIterator[tuple[Bench, NodeRed]]:
    """The bench, and beside it Node-RED with the flows.

    At the end it has nothing to complain about.
    """
    async with bench(folder) as running:
        where = {"BUSBAR_HOST": "127.0.0.1", "BUSBAR_PORT": str(running.broker.port)}
        async with node_red(folder / "node-red", **where) as red:
            await red.deploy(nodes, "Connected to broker")
            yield running, red
            assert red.complaints == []


async def test_one_shows_what_to_believe(tmp_path: Path) -> None:
    async with flows(tmp_path) as (running, red):
        await red.text.says("[debug:psu]", "online: true", "'setpoint/voltage': 5")
        at = len(red.text)
        running.bridge.signal(signal.SIGKILL)
        await red.text.says("[debug:psu]", "online: false", "values: {}", after=at)


async def test_one_does_not_believe_what_was_kept_for_hours(tmp_path: Path) -> None:
    later = "Date.now() / 1000 + 7200"
    believing = json.dumps(FLOWS).replace("Date.now() / 1000;", f"{later};")
    assert later in believing
    async with flows(tmp_path, json.loads(believing)) as (_, red):
        # until the first sign of life, which the bridge gives soon
        await red.text.says("[debug:psu]", "online: true", "'setpoint/voltage': 5")
        assert red.text.index(b"online: false") < red.text.index(b"online: true")


async def test_one_sets_and_tells_the_outcome(tmp_path: Path) -> None:
    async with flows(tmp_path) as (running, red):
        running.psu.voltage, running.psu.output = 3.0, False
        at = await red.press("5 V, output on")
        await red.text.says("[debug:done]", "ok: true", after=at)
        assert (running.psu.voltage, running.psu.output) == (5, True)
        at = await red.press("99 V, which is refused")
        await red.text.says(
            "[debug:failed]", "out_of_range", "99 is out of range", after=at
        )


async def test_one_tells_that_no_outcome_came(tmp_path: Path) -> None:
    impatient = json.loads(json.dumps(FLOWS))
    [limit] = [
        each
        for node in impatient
        for each in node.get("env", [])
        if each["name"] == "LIMIT"
    ]
    limit["value"] = "1"
    async with flows(tmp_path, impatient) as (running, red):
        running.bridge.signal(signal.SIGKILL)
        at = await red.press("5 V, output on")
        await red.text.says("[debug:failed]", "no_outcome", after=at)


async def test_one_reacts_to_an_event(tmp_path: Path) -> None:
    async with flows(tmp_path) as (running, red):
        for _ in range(2):
            at = len(red.text)
            running.psu.voltage = 7.0
            await until(lambda: not running.psu.output, "the output off", LIMIT)
            await red.text.says("[debug:switched off]", "ok: true", after=at)
            running.psu.voltage, running.psu.output = 5.0, True


@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [("", "", "127.0.0.1 1883"), ("broker.lan", "1884", "broker.lan 1884")],
)
async def test_the_broker_is_this_machine_unless_the_environment_says_where(
    host: str, port: str, shown: str, tmp_path: Path
) -> None:
    [variables] = [node for node in FLOWS if node["type"] == "global-config"]
    place = {"z": "tab", "x": 100, "y": 100}
    say = 'node.warn(`${env.get("BUSBAR_HOST")} ${env.get("BUSBAR_PORT")}`);'
    tab = {"id": "tab", "type": "tab", "label": "a tab of the test"}
    button = {
        "id": "button",
        "type": "inject",
        "name": "say",
        "props": [],
        "wires": [["say"]],
        **place,
    }
    function = {
        "id": "say",
        "type": "function",
        "func": say,
        "outputs": 0,
        "libs": [],
        "wires": [],
        **place,
    }
    async with node_red(
        tmp_path / "node-red", BUSBAR_HOST=host, BUSBAR_PORT=port
    ) as red:
        # not the rest: who knows which broker is there
        await red.deploy([variables, tab, button, function])
        await red.press("say")
        await red.text.says(shown)


def test_what_is_shown_has_its_place_in_the_editor() -> None:
    # Node-RED takes a node without x and y for a configuration: a subflow's instance
    # then never runs.
    shown = [node for node in FLOWS if node.get("z")]
    assert all(
        isinstance(node.get("x"), int) and isinstance(node.get("y"), int)
        for node in shown
    )
    assert len({node["id"] for node in FLOWS}) == len(FLOWS)
