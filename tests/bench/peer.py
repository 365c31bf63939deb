"""mqtt-io, the bridge that most people know, with its mock module."""

from pathlib import Path

from tests.bench.environment import Environment

VERSION = "2.7.0"
ENVIRONMENT = Environment("mqtt-io", VERSION)
there = ENVIRONMENT.there

# One input, everything else as it comes: it is read every 100 ms.
CONFIGURATION = """
mqtt: {{host: 127.0.0.1, port: {port}, topic_prefix: peer, clean_session: true}}
gpio_modules: [{{name: mock, module: mock}}]
digital_inputs: [{{name: level, module: mock, pin: 1}}]
logging: {{version: 1}}
"""
STATUS = "peer/status"


def command(folder: Path, port: int) -> list[str]:
    """Return how to run it; its configuration goes to the folder."""
    file = folder / "peer.yml"
    file.write_text(CONFIGURATION.format(port=port))
    return [ENVIRONMENT.python, "-m", "mqtt_io", str(file)]
