"""examples/python on the real bridge."""

import signal
import sys
from pathlib import Path

from busbar.testing.fakes import until
from tests.examples.programs import LIMIT, ROOT, bench, output, run

PYTHON = ROOT / "examples" / "python"


async def test_it_shows_sets_and_follows(tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        command = [sys.executable, str(PYTHON / "show_and_set.py"), "4.5"]
        async with output(*command, BUSBAR_URL=running.broker.url) as text:
            await text.says("it is a ", "voltage 4.5", "output True")
            assert running.psu.voltage == 4.5
            running.psu.output = False
            await text.says("output False")
            running.bridge.signal(signal.SIGKILL)
            await text.says("output unknown, the bridge bench is offline")


async def test_it_tells_why_a_value_was_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        command = [sys.executable, str(PYTHON / "show_and_set.py"), "99"]
        async with output(*command, BUSBAR_URL=running.broker.url) as text:
            await text.says("refused: out_of_range 99.0 is out of range")


async def test_a_script_without_asyncio_locks_and_sets(tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        status, text = await run(
            sys.executable,
            str(PYTHON / "without_asyncio.py"),
            BUSBAR_URL=running.broker.url,
        )
        assert status == 0, text
        assert [line for line in text.splitlines() if "setpoint" in line][-3:] == [
            f"bench/psu setpoint/voltage {volts}" for volts in (1.0, 2.0, 3.0)
        ]
        assert "it says" in text


async def test_a_value_is_set_again_and_again_also_after_the_broker_was_away(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as running:
        command = [sys.executable, str(PYTHON / "every_ten_seconds.py")]
        async with output(
            *command, BUSBAR_URL=running.broker.url, PERIOD="0.2"
        ) as text:
            await text.says("set 3.3", "set 5.0")
            running.broker.stop()
            await text.says("not set: link")
            running.broker.start()
            at = len(text)
            await text.says("set 3.3", "set 5.0", after=at)
            await until(lambda: running.psu.voltage in (3.3, 5.0), "the voltage", LIMIT)
