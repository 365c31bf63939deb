"""mqtt-io, the bridge that most people know, with its mock module: in an environment of its own, made when missing."""

import subprocess
import sys
import venv
from pathlib import Path

from tests.bench.processes import HERE

VERSION = "2.7.0"
FOLDER = HERE / ".venv" / "peers" / "mqtt-io"

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
    return [str(FOLDER / "bin" / "python"), "-m", "mqtt_io", str(file)]


def there() -> bool:
    """Install it if need be; False, and the reason said, where that cannot be done."""
    marker = FOLDER / f"installed-{VERSION}"
    if not marker.exists():
        try:
            _install()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"mqtt-io cannot be installed: {error}", file=sys.stderr)
            return False
        marker.touch()
    return True


def _install() -> None:
    venv.create(FOLDER, clear=True, with_pip=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, f"mqtt-io=={VERSION}"], check=True)
