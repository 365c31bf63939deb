"""The benchmarks, not their figures: each is found and fits the library of now."""

import pytest

from tests.bench.__main__ import BENCHMARKS, main


def test_every_benchmark_is_found_and_can_be_imported() -> None:
    common = {"values", "latency", "commands", "growth", "footprint", "sdk"}
    assert common < set(BENCHMARKS)
    assert {"can", "cip", "gpio", "indi", "modbus"} < set(BENCHMARKS)
    assert all(map(callable, BENCHMARKS.values()))


def test_an_unknown_benchmark_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    said = capsys.readouterr().err
    assert "there is no benchmark nonsense; there are: values, latency" in said
