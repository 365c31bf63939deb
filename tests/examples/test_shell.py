"""examples/shell with Mosquitto's clients on the real bridge."""

import json
import signal
import time
from pathlib import Path

import pytest

from busbar.contract import messages
from tests.broker import Mosquitto
from tests.examples.programs import ROOT, bench, output, run
from tests.watcher import Watcher

SHELL = ROOT / "examples" / "shell"


@pytest.mark.parametrize(
    ("script", "text"), [("set-311.sh", '"a b"'), ("set-5.sh", "a b")]
)
async def test_a_setter_sets_and_prints_the_outcome(
    script: str, text: str, tmp_path: Path
) -> None:
    async with bench(tmp_path) as running:
        url = running.broker.url

        async def outcome(name: str, value: str) -> tuple[int, str]:
            """Its exit status; the result, or the code of the error."""
            status, printed = await run(
                str(SHELL / script), "bench/psu", name, value, BUSBAR_URL=url
            )
            reply = json.loads(printed)
            return status, reply["result"] if reply["ok"] else reply["error"]["code"]

        assert await outcome("setpoint/voltage", "4.5") == (0, 4.5)
        assert await outcome("output", "false") == (0, False)
        assert (running.psu.voltage, running.psu.output) == (4.5, False)
        assert await outcome("setpoint/voltage", "99") == (1, "out_of_range")
        assert await outcome("setpoint/voltage", text) == (1, "bad_request")
        assert await outcome("voltage", "1") == (1, "read_only")


@pytest.mark.parametrize("script", ["set-311.sh", "set-5.sh"])
async def test_a_setter_says_that_nobody_answers(script: str, tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        command = [str(SHELL / script), "elsewhere/psu", "output", "true"]
        assert (await run(*command, BUSBAR_URL=running.broker.url, BUSBAR_WAIT="1"))[
            0
        ] == 27
        running.broker.stop()
        assert (await run(*command, BUSBAR_URL=running.broker.url))[0] == 1


async def test_the_setter_for_3_1_1_leaves_no_session_behind(tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        await run(
            str(SHELL / "set-311.sh"),
            "bench/psu",
            "output",
            "true",
            BUSBAR_URL=running.broker.url,
        )
        ours = [line for line in running.broker.log.splitlines() if "as shell-" in line]
        assert "c0" in ours[0]  # it had one: the subscription was kept
        assert "c1" in ours[-1]  # and a clean connection ended it


async def test_the_watcher_prints_values_and_what_is_not_to_be_believed(
    tmp_path: Path,
) -> None:
    command = [str(SHELL / "watch.sh"), "bench/psu"]
    async with (
        bench(tmp_path) as running,
        output(*command, BUSBAR_URL=running.broker.url) as text,
    ):
        await text.says(
            "bench/bridge/status online",
            "bench/psu/status online",
            "setpoint/voltage 5.0",
        )
        running.psu.voltage = 4.5
        await text.says("setpoint/voltage 4.5", "\nvoltage 4.")
        running.bridge.signal(signal.SIGTERM)
        await text.says(
            "bench/psu/status stopped",
            "bench/bridge/status stopped",
            '\nbad {"voltage":{"code":"offline"',
        )


async def test_the_watcher_says_that_what_the_broker_kept_is_old() -> None:
    state = {"boot": "b1", "seq": 1, "time": time.time() - 7200.5, "values": {}}
    with Mosquitto() as broker:
        async with Watcher(broker.port) as bus:
            payload = messages.encode({**state, "bad": {}})
            bus.publish("busbar/bench/psu/state", payload, retain=True, qos=1)
            await bus.abreast()
        command = [str(SHELL / "watch.sh"), "bench/psu"]
        async with output(*command, BUSBAR_URL=broker.url) as text:
            await text.says("old {nothing was said for 72", "s, by the clocks}")
