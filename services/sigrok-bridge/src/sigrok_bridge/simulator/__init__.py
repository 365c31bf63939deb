"""Simulated instrument: the demo driver of sigrok."""

NEEDS = "sigrok-cli"  # the program that has to be installed
