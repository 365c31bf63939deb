"""Which devices of a link are there now (contract 5.4)."""

from busbar.link.found_devices import QUIET, FoundDevices


def test_a_device_is_there_from_when_it_appears_until_it_vanishes():
    found = FoundDevices()
    assert "camera" not in found
    found.add("camera", 1.0)
    assert "camera" in found
    found.discard("camera")
    assert "camera" not in found
    found.discard("camera")


def test_after_a_new_link_those_of_before_are_missing_until_they_appear_again():
    found = FoundDevices()
    found.add("camera", 0.0)
    found.add("mount", 0.0)
    found.on_link_down()
    found.on_link_up(10.0)
    assert found.missing({"camera", "mount"}) == {"camera", "mount"}
    found.add("mount", 11.0)
    assert found.missing({"camera", "mount"}) == {"camera"}


def test_it_is_quiet_a_while_after_the_last_that_appeared():
    found = FoundDevices()
    found.on_link_up(100.0)
    assert not found.is_quiet(100.0 + QUIET - 1)
    found.add("camera", 110.0)
    assert not found.is_quiet(100.0 + QUIET)
    assert found.is_quiet(110.0 + QUIET)


def test_a_device_that_is_kept_does_not_put_off_the_quiet():
    found = FoundDevices()
    found.on_link_up(0.0)
    found.keep("camera")
    assert "camera" in found
    assert found.is_quiet(QUIET)
