"""Functions of pins as pinctrl has them; the file is for root alone, as a rule.

Source: pinmux-pins of debugfs, as drivers/pinctrl/pinmux.c of the kernel writes it.
"""

import re
from pathlib import Path

from busbar.bridge.errors import DeviceRefused

ROOT = Path("/sys/kernel/debug/pinctrl")
_PIN = re.compile(r"pin (\d{1,6}) \([^)]*\): (.*)", re.ASCII)
_FUNCTION = re.compile(r"function (\S+)")
SIZE_LIMIT = 1 << 20  # bytes; such a file has some 60 lines


def functions(device: str, root: Path = ROOT) -> dict[int, str]:
    """Return the function of each pin that pinctrl has given one, by offset.

    Raise DeviceRefused with the reason.
    """
    try:
        files = sorted(root.glob(f"*{device}*/pinmux-pins"))
        if not files:
            why = f"none for {device!r}"
            if not root.exists():
                why = "debugfs is not mounted, or there is no pinctrl"
            raise DeviceRefused(f"pinctrl cannot be read: {why}")
        with files[0].open() as lines:
            return parse(lines.read(SIZE_LIMIT))
    except OSError as error:
        raise DeviceRefused(
            f"pinctrl cannot be read: {error.strerror or error}, it is for root"
        ) from error


def parse(text: str) -> dict[int, str]:
    """Return the functions in the text of a pinmux-pins."""
    found = {}
    for line in text.splitlines():
        pin = _PIN.match(line)
        if pin is None:
            continue
        function = _FUNCTION.search(pin[2])
        if function is not None:
            found[int(pin[1])] = function[1]
    return found
