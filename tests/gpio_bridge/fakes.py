"""Stand-ins for gpiod.Chip and the module RPi.GPIO, on a simulated chip.

They are written from the documentation of those libraries, so that one suite can be run
over all three back ends.
"""

import errno
import os
from datetime import timedelta
from types import SimpleNamespace

import gpiod
from gpiod.line import Bias, Direction, Drive, Value
from gpiod.line import Edge as EdgeDetection

from gpio_bridge.backends.sim import SimChip
from gpio_bridge.chip import Edge, LineSettings

PULLS = {
    Bias.DISABLED: "off",
    Bias.PULL_UP: "up",
    Bias.PULL_DOWN: "down",
    Bias.AS_IS: "as_is",
}
DRIVES = {
    Drive.PUSH_PULL: "push_pull",
    Drive.OPEN_DRAIN: "open_drain",
    Drive.OPEN_SOURCE: "open_source",
}
DIRECTIONS = {Direction.AS_IS: "as_is", Direction.INPUT: "in", Direction.OUTPUT: "out"}
BACK = {name: each for each, name in PULLS.items() if name != "as_is"}


class Queue:
    """Things to read, and a descriptor that is readable while there are some."""

    def __init__(self):
        self.fd, self._writer = os.pipe()
        self.items = []

    def put(self, item):
        self.items.append(item)
        os.write(self._writer, b"x")

    def take(self):
        os.read(self.fd, len(self.items))
        items, self.items = self.items, []
        return items

    def close(self):
        os.close(self.fd)
        os.close(self._writer)


class Chip:
    """gpiod.Chip on a simulated one; `refusing` is raised by requests."""

    def __init__(self, sim: SimChip, refusing: Exception | None = None):
        self.sim, self.refusing = sim, refusing
        self._events = Queue()
        self._watched = False

    fd = property(lambda self: self._events.fd)

    def __bool__(self):
        return self._events is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._events is not None:
            self._events.close()
            self._events = None

    def get_info(self):
        return SimpleNamespace(
            name="gpiochip0", label=self.sim.label, num_lines=self.sim.count
        )

    def line_offset_from_id(self, name):
        if name not in self.sim.names:
            raise FileNotFoundError(errno.ENOENT, "no such line")
        return self.sim.names.index(name)

    def get_line_info(self, offset):
        about = self.sim.info(offset)
        return SimpleNamespace(
            offset=offset,
            name=about.name,
            used=about.used,
            consumer=about.consumer,
            active_low=about.active_low,
            direction=Direction.OUTPUT if about.direction == "out" else Direction.INPUT,
            bias=BACK.get(about.pull, Bias.UNKNOWN),
            drive=Drive[about.drive.upper()],
        )

    def watch_line_info(self, offset):
        if not self._watched:
            self.sim.watch(
                lambda about: (
                    self._events and self._events.put(self.get_line_info(about.offset))
                )
            )
            self._watched = True

    def read_info_event(self):
        first, *rest = self._events.take()
        for each in rest:
            self._events.put(each)
        return SimpleNamespace(line_info=first)

    def request_lines(self, config, consumer=None, event_buffer_size=None):
        if self.refusing is not None:
            raise self.refusing
        for offset, about in config.items():
            if offset >= self.sim.count:
                raise ValueError("line offset of out range")
            if self.sim.pins[offset].holder:
                raise OSError(errno.EBUSY, "Device or resource busy")
            if (
                about.edge_detection is not EdgeDetection.NONE
                and not self.sim.pins[offset].has_interrupt
            ):
                raise OSError(errno.ENXIO, "No such device or address")
        return Request(self.sim, config, consumer)


class Request:
    def __init__(self, sim, config, consumer):
        self._sim, self._offsets = sim, list(config)
        self._queue = Queue()
        for offset, about in config.items():
            sim.pins[offset].holder = consumer
            sim.pins[offset].take(translated(about), self)
            sim.notify(offset)

    fd = property(lambda self: self._queue.fd)

    def __bool__(self):
        return self._queue is not None

    def tell(self, edge: Edge):
        kind = (
            gpiod.EdgeEvent.Type.RISING_EDGE
            if edge.value
            else gpiod.EdgeEvent.Type.FALLING_EDGE
        )
        self._queue.put(
            SimpleNamespace(
                event_type=kind,
                timestamp_ns=edge.time,
                line_offset=edge.offset,
                line_seqno=edge.seq,
            )
        )

    def read_edge_events(self):
        return self._queue.take()

    def get_value(self, offset):
        return Value.ACTIVE if self._sim.pins[offset].reading else Value.INACTIVE

    def set_value(self, offset, value):
        if self._sim.pins[offset].settings.direction != "out":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        self._sim.pins[offset].write(value is Value.ACTIVE)

    def reconfigure_lines(self, config):
        for offset, about in config.items():
            self._sim.pins[offset].configure(translated(about))
            self._sim.notify(offset)

    def release(self):
        for offset in self._offsets:
            self._sim.pins[offset].request = None
            self._sim.pins[offset].holder = ""
            self._sim.notify(offset)
        self._queue.close()
        self._queue = None


def translated(about: gpiod.LineSettings) -> LineSettings:
    assert about.edge_detection in (EdgeDetection.NONE, EdgeDetection.BOTH)
    assert isinstance(about.debounce_period, timedelta)
    return LineSettings(
        DIRECTIONS[about.direction],
        PULLS[about.bias],
        DRIVES[about.drive],
        about.active_low,
        about.edge_detection is EdgeDetection.BOTH,
        about.debounce_period.total_seconds(),
        about.output_value is Value.ACTIVE,
    )


class RpiGpio:
    """The module RPi.GPIO on a simulated chip."""

    IN, OUT, BOTH, BCM, VERSION = 1, 0, 33, 11, "0.7.1"
    PUD_OFF, PUD_DOWN, PUD_UP = 20, 21, 22
    UNKNOWN = -1

    def __init__(self, sim: SimChip):
        self._sim, self._edges = sim, {}
        self.pwms = []
        self.PWM = self._make_pwm
        self.mode = None
        self._tellers = {}
        self.functions = {}  # of lines that are neither input nor output

    def setwarnings(self, on):
        assert on is False

    def setmode(self, mode):
        self.mode = mode

    def setup(self, channel, direction, pull_up_down=PUD_OFF, initial=-1):
        pull = {self.PUD_OFF: "off", self.PUD_DOWN: "down", self.PUD_UP: "up"}[
            pull_up_down
        ]
        pin = self._sim.pins[channel]
        if pin.holder:
            raise RuntimeError(f"channel {channel} is busy")
        if direction == self.OUT:
            value = pin.net.level if initial == -1 else bool(initial)
            pin.configure(LineSettings("out", value=value))
        else:
            pin.configure(LineSettings("in", pull, edges=channel in self._tellers))

    def gpio_function(self, channel):
        if channel in self.functions:
            return self.functions[channel]
        return (
            self.OUT if self._sim.pins[channel].settings.direction == "out" else self.IN
        )

    def input(self, channel):
        return int(self._sim.level(channel))

    def output(self, channel, value):
        self._sim.pins[channel].write(bool(value))

    def add_event_detect(self, channel, edge, callback):
        if not self._sim.pins[channel].has_interrupt:
            raise RuntimeError("Failed to add edge detection")
        pin = self._sim.pins[channel]
        self._tellers[channel] = SimpleNamespace(tell=lambda edge: callback(channel))
        pin.configure(LineSettings("in", pin.settings.pull, edges=True))
        pin.request = self._tellers[channel]

    def remove_event_detect(self, channel):
        self._sim.pins[channel].request = None
        self._tellers.pop(channel)

    def _make_pwm(self, channel, frequency):
        pwm = Pwm(channel, frequency)
        self.pwms.append(pwm)
        return pwm


class Pwm:
    def __init__(self, channel, frequency):
        self.calls = [("made", channel, frequency)]

    def start(self, duty):
        self.calls.append(("start", duty))

    def ChangeDutyCycle(self, duty):
        self.calls.append(("duty", duty))

    def ChangeFrequency(self, frequency):
        self.calls.append(("frequency", frequency))

    def stop(self):
        self.calls.append(("stop",))
