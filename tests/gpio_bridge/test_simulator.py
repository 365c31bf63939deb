import asyncio
import json
import signal
import sys
from pathlib import Path

from busbar.testing.fakes import until


async def test_the_program_makes_a_folder_of_pwm_and_takes_it_away(tmp_path):
    root = tmp_path / "pwm"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "gpio_bridge.simulator",
        "--pwm-root",
        str(root),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = json.loads(await process.stdout.readline())
    assert said == {"PWM_ROOT": str(root)}
    (Path(said["PWM_ROOT"]) / "pwmchip0/export").write_text("0")
    await until((root / "pwmchip0/pwm0/period").exists, "the channel")
    assert (await process.stderr.readline()).startswith(b"pwm0: {'period': 0")
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert (process.returncode, root.exists()) == (0, False)
