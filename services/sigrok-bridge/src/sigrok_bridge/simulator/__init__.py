"""Simulated instrument: the demo driver of sigrok, behind a plug."""

NEEDS = "sigrok-cli"  # the program that has to be installed
