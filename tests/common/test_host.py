from busbar.runtime.host import Lag, resident


def test_the_resident_memory_grows_with_what_is_held() -> None:
    before = resident()
    held = bytearray(b"x" * 50_000_000)
    assert resident() - before > 40_000_000
    assert len(held) == 50_000_000


async def test_the_lag_is_the_worst_since_it_was_asked() -> None:
    lag = Lag()
    await lag.tick(0)
    assert lag.take() >= 0
    assert lag.take() == 0
