"""mqtt-io with a chip that is driven by stdin.

`PYTHON gpio_peer.py CONFIGURATION`, in mqtt-io's environment.

A byte is an edge, "1" or "0". A thread waits for them and passes the level of each on,
as mqtt-io's module for gpiod does; the one for RPi.GPIO reads the level again, which
may have changed by then.
"""

import os
import sys
import threading
from typing import Any

from mqtt_io.__main__ import main
from mqtt_io.modules.gpio import GenericGPIO, InterruptSupport

NAME = "mqtt_io.modules.gpio.driven"  # where mqtt-io looks for `module: driven`
REQUIREMENTS = ()
SIZE = 4096  # bytes of one read


class GPIO(GenericGPIO):
    """A module with one input."""

    INTERRUPT_SUPPORT = InterruptSupport.SOFTWARE_CALLBACK

    def setup_module(self) -> None:
        self._level = False

    def setup_pin(self, *arguments: Any, **more: Any) -> None:
        pass

    def set_pin(self, pin: Any, value: bool) -> None:
        pass

    def get_pin(self, pin: Any) -> bool:
        return self._level

    def setup_interrupt_callback(
        self, pin: Any, edge: Any, in_conf: Any, callback: Any
    ) -> None:
        threading.Thread(target=self._listen, args=(callback,), daemon=True).start()

    def get_interrupt_value(self, pin: Any, *arguments: Any, **more: Any) -> bool:
        return bool(more["level"])

    def _listen(self, callback: Any) -> None:
        while edges := os.read(sys.stdin.fileno(), SIZE):
            for each in edges:
                self._level = each == ord("1")
                callback(level=self._level)


if __name__ == "__main__":
    sys.modules[NAME] = sys.modules["__main__"]
    main()
