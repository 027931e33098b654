import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.grouping.objectives import partition_objective
from pgx_jax.grouping.partitions import (
    canonical_labels,
    canonical_order,
    check_affinity,
    normalise_affinity,
)
from tests.reference import partitions as reference

BELL = [1, 2, 5, 15, 52, 203, 877, 4140]


def test_oracle_counts_partitions():
    assert [len(reference.all_partitions(n)) for n in range(1, 9)] == BELL


def test_canonical_labels():
    np.testing.assert_array_equal(canonical_labels([7, 7, -1, 3, -1]), [0, 0, 1, 2, 1])
    np.testing.assert_array_equal(canonical_labels(["b", "a", "b"]), [0, 1, 0])
    np.testing.assert_array_equal(canonical_labels([5]), [0])


@pytest.mark.parametrize("labels", [[], [[0, 1]], 3])
def test_canonical_labels_rejects(labels):
    with pytest.raises(ValueError, match="non-empty vector"):
        canonical_labels(labels)


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_normal_form(num_tasks, seed):
    rng = np.random.default_rng(seed)
    affinity = rng.normal(3.0, 5.0, size=(num_tasks, num_tasks))
    normal = normalise_affinity(affinity)
    off = normal.values[~np.eye(num_tasks, dtype=bool)]
    np.testing.assert_array_equal(normal.values, normal.values.T)
    np.testing.assert_array_equal(np.diag(normal.values), 0.0)
    assert off.mean() == pytest.approx(0.0, abs=1e-12)
    assert off.std() == pytest.approx(1.0)
    # Units: mean * n + spread * v, with the diagonal at the mean.
    given_units = (affinity + affinity.T) / 2
    np.fill_diagonal(given_units, normal.mean)
    labels = rng.integers(0, 3, num_tasks)
    assert partition_objective(given_units, labels) == pytest.approx(
        normal.mean * num_tasks + normal.spread * partition_objective(normal.values, labels)
    )
    # The task order changes nothing, to the last bit.
    order = rng.permutation(num_tasks)
    np.testing.assert_array_equal(
        normalise_affinity(affinity[np.ix_(order, order)]).values,
        normal.values[np.ix_(order, order)],
    )


def test_normal_form_of_small_and_constant():
    assert normalise_affinity([[4.0]]) == (np.zeros((1, 1)), 4.0, 1.0)
    two = normalise_affinity([[np.nan, 1.0], [3.0, np.inf]])
    np.testing.assert_array_equal(two.values, 0.0)
    assert (two.mean, two.spread) == (2.0, 1.0)
    for dtype in (np.float64, np.float32):
        constant = normalise_affinity(np.full((5, 5), 0.1, dtype))
        np.testing.assert_array_equal(constant.values, 0.0)
        assert constant.spread == 1.0


def test_canonical_order_follows_the_tasks():
    rng = np.random.default_rng(1)
    affinity = normalise_affinity(rng.normal(size=(8, 8))).values
    order = rng.permutation(8)
    np.testing.assert_array_equal(
        order[canonical_order(affinity[np.ix_(order, order)])], canonical_order(affinity)
    )


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        (np.zeros((2, 3)), "square"),
        (np.zeros(4), "square"),
        (np.zeros((0, 0)), "square"),
        (np.zeros((2, 2), complex), "real numbers"),
        ([["a", "b"], ["c", "d"]], "real numbers"),
        ([[0, np.nan, 1], [0, 0, 1], [np.inf, 1, 0]], r"pairs \(0, 1\), \(0, 2\).*balanced"),
        (np.full((6, 6), np.nan), r"and 7 more"),
        ([[np.nan]], r"\(0, 0\)"),
    ],
)
def test_bad_affinities(affinity, message):
    with pytest.raises(ValueError, match=message):
        check_affinity(affinity)
