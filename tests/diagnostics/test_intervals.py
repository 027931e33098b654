import numpy as np
import pytest
from scipy import stats

from pgx_jax.diagnostics import mean_interval


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_intervals_are_scipys(count, confidence):
    values = np.random.default_rng(count).normal(3.0, 2.0, count).tolist()
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    found = mean_interval(values, confidence)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval():
    assert mean_interval([2.5]) == {"mean": 2.5, "low": None, "high": None}


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([1.0, 1.0, 1.0]) == {"mean": 1.0, "low": 1.0, "high": 1.0}
