"""The history of a pool: where no executor called it, no call was in flight."""

from datetime import UTC, datetime, timedelta

from batch_gateway.core.pool_history import SAMPLE_EVERY, PoolSample, with_pauses

T0 = datetime(2026, 11, 30, tzinfo=UTC)


def sample(second: float, in_flight: int, limit: float = 8.0) -> PoolSample:
    return PoolSample(at=T0 + timedelta(seconds=second), limit=limit, in_flight=in_flight)


def test_samples_without_a_pause_stay_as_they_are():
    samples = [sample(10 * n, n) for n in range(5)]

    assert with_pauses(samples) == samples
    assert with_pauses([]) == []


def test_a_pause_has_no_calls_from_soon_after_its_begin_until_shortly_before_its_end():
    every = SAMPLE_EVERY.total_seconds()

    found = with_pauses([sample(0, 4, limit=9), sample(600, 2, limit=5), sample(610, 2)])

    assert found == [
        sample(0, 4, limit=9),
        sample(every, 0, limit=9),
        sample(600 - every, 0, limit=5),
        sample(600, 2, limit=5),
        sample(610, 2),
    ]
