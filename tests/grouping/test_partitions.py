import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.grouping.local_search import improve, objectives
from pgx_jax.grouping.partitions import (
    canonical_labels,
    canonical_order,
    check_affinity,
    normalise_affinity,
    partition_matrix,
    partition_objective,
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


def test_objective_by_hand():
    affinity = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert partition_objective(affinity, [0, 1, 0]) == pytest.approx((1 + 3 + 7 + 9) / 2 + 5)
    with pytest.raises(ValueError, match="one row a label"):
        partition_objective(affinity, [0, 1])


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_objective_is_inner_product_with_partition_matrix(num_tasks, seed):
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=(num_tasks, num_tasks))
    labels = canonical_labels(rng.integers(0, 3, num_tasks))
    matrix = partition_matrix(labels)
    assert partition_objective(affinity, labels) == pytest.approx(np.sum(affinity * matrix))
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    assert np.trace(matrix) == pytest.approx(labels.max() + 1)


def test_oracle_agrees_with_objective():
    affinity = np.random.default_rng(0).normal(size=(6, 6))
    value, labels = reference.best_partition(affinity, 3)
    assert value == pytest.approx(partition_objective(affinity, labels))


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


@pytest.mark.parametrize("num_groups", [2, 3, 5])
def test_local_search_ends_where_no_move_and_no_swap_helps(num_groups):
    num_tasks = 8
    rng = np.random.default_rng(num_groups)
    affinity = normalise_affinity(rng.normal(size=(num_tasks, num_tasks))).values
    starts = rng.permuted(np.tile(np.arange(num_tasks) % num_groups, (20, 1)), axis=1)
    final = improve(affinity, starts, num_groups)
    values = objectives(affinity, final, num_groups)
    np.testing.assert_allclose(
        values, [partition_objective(affinity, labels) for labels in final], atol=1e-12
    )
    assert np.all(values >= objectives(affinity, starts, num_groups) - 1e-12)
    for labels, value in zip(final, values, strict=True):
        assert len(np.unique(labels)) == num_groups
        neighbours = []
        for i in range(num_tasks):
            for group in range(num_groups):
                changed = labels.copy()
                changed[i] = group
                neighbours.append(changed)
            for j in range(num_tasks):
                changed = labels.copy()
                changed[[i, j]] = labels[[j, i]]
                neighbours.append(changed)
        allowed = [row for row in neighbours if len(np.unique(row)) == num_groups]
        assert max(partition_objective(affinity, row) for row in allowed) <= value + 1e-8
