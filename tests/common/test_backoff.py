"""Pauses between attempts: they grow, have an end, and start again."""

from busbar.net.backoff import DOUBLINGS, Backoff, Delays

DELAYS = Delays(least=0.1, first=0.5, most=30.0, held=10.0)


def longest(backoff: Backoff, tries: int = 300) -> float:
    return max(backoff.pause() for _ in range(tries))


def test_the_ceiling_doubles_with_each_failure_up_to_its_end() -> None:
    backoff = Backoff(DELAYS)
    for ceiling in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        backoff.fail(lasted=0.0)
        assert 0.6 * ceiling < longest(backoff) <= ceiling


def test_no_pause_is_shorter_than_the_least() -> None:
    backoff = Backoff(DELAYS)
    assert min(backoff.pause() for _ in range(300)) >= DELAYS.least


def test_a_link_that_held_starts_again() -> None:
    backoff = Backoff(DELAYS)
    for _ in range(8):
        backoff.fail(lasted=0.0)
    backoff.fail(lasted=DELAYS.held + 1)
    assert longest(backoff) <= DELAYS.first


def test_a_link_that_was_closed_on_purpose_starts_again() -> None:
    backoff = Backoff(DELAYS)
    for _ in range(8):
        backoff.fail(lasted=0.0)
    backoff.succeed()
    assert longest(backoff) <= DELAYS.first


def test_an_error_may_ask_for_pauses_of_its_own() -> None:
    backoff = Backoff(DELAYS)
    for _ in range(DOUBLINGS + 5):
        backoff.fail(lasted=0.0)
    assert 2.0 <= backoff.pause(Delays(2.0, 2.0, 3.0, 10.0)) <= 3.0


def test_a_problem_is_news_once() -> None:
    backoff = Backoff(DELAYS)
    found = [backoff.report(problem) for problem in ("a", "a", "b", "a", "a")]
    assert found == [True, False, True, True, False]
