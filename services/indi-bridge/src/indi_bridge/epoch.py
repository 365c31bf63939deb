"""Precession between the equinox J2000 and that of a date.

Source: Meeus, Astronomical Algorithms, chapter 21 (IAU 1976). Nutation and aberration,
together below 0.01 degrees, are left out.
"""

import math
from typing import NamedTuple

_J2000 = 946_728_000.0  # Unix s of 2000-01-01 12:00
_CENTURY = 36525 * 86400.0  # s
_ARCSECOND = math.radians(1 / 3600)


class Equatorial(NamedTuple):
    """A place on the sky: right ascension (h) and declination (degrees)."""

    ra: float
    dec: float


def of_date(place: Equatorial, time: float) -> Equatorial:
    """Return the place of J2000 at the equinox of a Unix time (s)."""
    zeta, z, theta = _angles(time)
    return _turned(place, zeta, z, theta)


def of_j2000(place: Equatorial, time: float) -> Equatorial:
    """Return the place of a Unix time (s) at the equinox J2000."""
    zeta, z, theta = _angles(time)
    return _turned(place, -z, -zeta, -theta)


def _angles(time: float) -> tuple[float, float, float]:
    """Return zeta, z and theta (radians)."""
    t = (time - _J2000) / _CENTURY
    zeta = (2306.2181 + (0.30188 + 0.017998 * t) * t) * t
    z = (2306.2181 + (1.09468 + 0.018203 * t) * t) * t
    theta = (2004.3109 - (0.42665 + 0.041833 * t) * t) * t
    return zeta * _ARCSECOND, z * _ARCSECOND, theta * _ARCSECOND


def _turned(place: Equatorial, zeta: float, z: float, theta: float) -> Equatorial:
    angle = math.radians(place.ra * 15) + zeta
    dec = math.radians(place.dec)
    a = math.cos(dec) * math.sin(angle)
    b = math.cos(theta) * math.cos(dec) * math.cos(angle)
    b -= math.sin(theta) * math.sin(dec)
    c = math.sin(theta) * math.cos(dec) * math.cos(angle)
    c += math.cos(theta) * math.sin(dec)
    hours = math.degrees(math.atan2(a, b) + z) / 15
    # near a pole the sine is a poor measure of the angle
    return Equatorial(hours % 24, math.degrees(math.atan2(c, math.hypot(a, b))))
