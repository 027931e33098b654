import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from pgx_jax.diagnostics import adjusted_rand_index


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_it_is_that_of_scikit_learn(num_tasks, num_groups, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, num_groups, (2, num_tasks))
    index = adjusted_rand_index(first, second)
    assert index == pytest.approx(adjusted_rand_score(first, second), abs=1e-12)
    assert adjusted_rand_index(second, first) == pytest.approx(index, abs=1e-12)


def test_numbering_does_not_matter_and_equal_partitions_have_index_one():
    labels = np.array([0, 1, 0, 2, 1])
    assert adjusted_rand_index(labels, labels) == 1.0
    assert adjusted_rand_index(labels, ["b", "a", "b", "c", "a"]) == 1.0
    assert adjusted_rand_index([0, 0, 0], [4, 4, 4]) == 1.0
    assert adjusted_rand_index([0, 1, 2], [2, 1, 0]) == 1.0
    assert adjusted_rand_index([0, 0, 1, 1], [0, 1, 0, 1]) < 0.0


def test_chance_is_about_zero():
    rng = np.random.default_rng(0)
    draws = [adjusted_rand_index(*rng.integers(0, 3, (2, 12))) for _ in range(2000)]
    assert abs(np.mean(draws)) < 0.02
