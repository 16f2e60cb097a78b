import pytest

from pipeline.model.backoff import Backoff


def test_waits_grow_by_the_factor_up_to_the_longest():
    backoff = Backoff(attempts=5, first=0.5, factor=3, longest=4)
    assert [backoff.wait(failures) for failures in range(1, 5)] == [0.5, 1.5, 4, 4]
    assert backoff.wait(10_000) == 4


def test_jitter_takes_a_random_share_off_a_wait():
    backoff = Backoff(attempts=10, first=1, longest=8, jitter=0.5)
    assert all(0.5 <= backoff.wait(1) <= 1 for _ in range(50))
    assert all(4 <= backoff.wait(9) <= 8 for _ in range(50))
    assert len({backoff.wait(3) for _ in range(10)}) > 1


def test_a_retry_after_lengthens_a_wait_within_its_bound():
    backoff = Backoff(attempts=3, first=1, longest_retry_after=30)
    assert backoff.wait(1, retry_after=0.2) == 1
    assert backoff.wait(1, retry_after=20) == 20
    assert backoff.wait(1, retry_after=10_000) == 30


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_last_attempt_is_known(attempts):
    backoff = Backoff(attempts, first=1)
    assert [attempt for attempt in range(1, 6) if backoff.is_last(attempt)] == list(range(attempts, 6))
