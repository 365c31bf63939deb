"""Precession. Source: Meeus, Astronomical Algorithms, example 21.b."""

import math

import pytest

from indi_bridge.epoch import Equatorial, of_date, of_j2000

_2028_NOV_13 = 1_857_688_416.0  # 13.19 November 2028 TT, as Unix s


def test_theta_persei_of_the_book() -> None:
    # with its proper motion until then
    place = Equatorial(2 + 44 / 60 + 12.975 / 3600, 49 + 13 / 60 + 39.90 / 3600)
    found = of_date(place, _2028_NOV_13)
    assert found.ra * 15 == pytest.approx(41.547214, abs=1e-5)
    assert found.dec == pytest.approx(49.348483, abs=1e-5)


def test_there_and_back() -> None:
    for ra in (0.0, 5.588, 12.0, 23.99):
        for dec in (-89.9, -5.391, 0.0, 60.0, 89.9):
            there = of_date(Equatorial(ra, dec), _2028_NOV_13)
            back = of_j2000(there, _2028_NOV_13)
            assert back.dec == pytest.approx(dec, abs=1e-7)
            turned = math.remainder(back.ra - ra, 24)
            assert turned == pytest.approx(0, abs=1e-4)


def test_the_orion_nebula_is_20_arcminutes_off_in_2026() -> None:
    place = Equatorial(5 + 35 / 60 + 17 / 3600, -(5 + 23 / 60 + 28 / 3600))
    found = of_date(place, 1_796_083_200.0)
    far = math.hypot(
        (found.ra - place.ra) * 15 * math.cos(math.radians(place.dec)),
        found.dec - place.dec,
    )
    assert far * 60 == pytest.approx(20, abs=1)
