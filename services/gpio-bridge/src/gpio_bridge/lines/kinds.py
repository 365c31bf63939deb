"""Kinds of lines by the section of the configuration."""

from collections.abc import Mapping
from typing import Any

from gpio_bridge import settings
from gpio_bridge.lines.inputs import CounterLine, EncoderLine, FrequencyLine, Input
from gpio_bridge.lines.line import GpioLine
from gpio_bridge.lines.outputs import Output, PwmLine, ServoLine

KINDS: Mapping[type[settings.AnyLine], type[GpioLine[Any]]] = {
    settings.In: Input,
    settings.Out: Output,
    settings.Pwm: PwmLine,
    settings.Servo: ServoLine,
    settings.Counter: CounterLine,
    settings.Frequency: FrequencyLine,
    settings.Encoder: EncoderLine,
}
