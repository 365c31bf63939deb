"""Models: fields of devices whose report descriptors do not name them.

Source: docs/protocols/hid.md, 9.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from hid_bridge.settings import Checksum, Device, Field, Init, When


class Model(NamedTuple):
    """What a model adds to the configuration of a device."""

    title: str
    fields: tuple[Field, ...]
    checksum: Checksum | None = None
    init: tuple[Init, ...] = ()
    descriptor: bool = False  # whether the descriptor's own names stay


def _quantity(path: str, mark: int, unit: str, **more: Any) -> Field:
    """Return a field of a CO2 monitor: the first byte says which it is."""
    return Field(
        path=path,
        byte=1,
        bits=16,
        order="big",
        when=When(equals=mark),
        unit=unit,
        max_age=60.0,
        **more,
    )


_CO2 = Model(
    "CO2 monitor",
    (
        _quantity("co2", 0x50, "ppm", class_="carbon_dioxide", type="integer"),
        _quantity("temperature", 0x42, "°C", class_="temperature", scale=1 / 16,
                  add=-273.15),
        _quantity("humidity", 0x41, "%", class_="humidity", scale=0.01),
    ),
    Checksum(kind="sum", first=0, last=2, byte=3),
    (Init(feature="00 00 00 00 00 00 00 00 00"),),
)  # fmt: skip

_STATUSES = {
    1: "fault",
    2: "zero",
    3: "in_motion",
    4: "stable",
    5: "under_zero",
    6: "over_weight_limit",
    7: "requires_calibration",
    8: "requires_rezeroing",
}
_UNITS = {
    1: "mg",
    2: "g",
    3: "kg",
    4: "carat",
    5: "tael",
    6: "grain",
    7: "pennyweight",
    8: "tonne",
    9: "ton",
    10: "ozt",
    11: "oz",
    12: "lb",
}
_SCALE = Model(
    "Scale",
    (
        Field(path="status", report=3, choices=_STATUSES),
        Field(path="unit", report=3, byte=1, choices=_UNITS),
        Field(path="scaling", report=3, byte=2, signed=True, type="integer"),
        Field(path="weight", report=3, byte=3, bits=16, exponent="scaling"),
    ),
)
_PEDALS = ("left", "middle", "right")
_FOOTSWITCH = Model(
    "Footswitch",
    tuple(
        Field(path=f"pedal/{name}", bit=bit, bits=1, type="boolean")
        for bit, name in enumerate(_PEDALS)
    ),
)
MODELS: Mapping[str, Model] = {
    "co2monitor": _CO2,
    "scale": _SCALE,
    "footswitch": _FOOTSWITCH,
}


def applied(device: Device) -> Device:
    """Return the settings of a device with what its model adds.

    What the configuration has itself stays, and a field of it takes the place of the
    model's of the same path.
    """
    if device.model is None:
        return device
    model = MODELS[device.model]
    own = {each.path for each in device.fields}
    fields = [each for each in model.fields if each.path not in own]
    return msgspec.structs.replace(
        device,
        title=device.title or model.title,
        fields=(*fields, *device.fields),
        checksum=device.checksum or model.checksum,
        init=device.init or model.init,
        descriptor=device.descriptor and model.descriptor,
    )
