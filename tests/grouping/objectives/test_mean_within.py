import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.grouping.objectives import GroupCounts, MeanWithin
from pgx_jax.grouping.objectives.mean_within import averaging_multipliers
from pgx_jax.grouping.objectives.spectra import eigenvalues_orthogonal_to_ones
from pgx_jax.grouping.partitions import partition_matrix
from tests.grouping.affinities import blocks, make_affinity


def test_multipliers_of_a_partition_satisfy_its_conditions():
    affinity, labels = blocks(30, 3, noise=0.1)
    level = 0.9 * 10 * affinity[labels[:, None] == labels].mean()
    multipliers = averaging_multipliers(affinity, labels, level)
    same = labels[:, None] == labels
    assert (multipliers[same] == 0).all()
    assert (multipliers >= 0).all()
    np.testing.assert_allclose(multipliers, multipliers.T)
    # Centred indicators span an invariant subspace of P(U + N)P: what X has to commute with.
    centre = np.eye(30) - 1 / 30
    matrix = centre @ (affinity + multipliers) @ centre
    span = centre @ same
    np.testing.assert_allclose(
        matrix @ span - partition_matrix(labels) @ matrix @ span, 0, atol=1e-8
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.data())
def test_projection_is_the_nearest_point(num_tasks, seed, data):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(num_tasks, num_tasks)) * data.draw(st.sampled_from([0.01, 1.0, 9.0]))
    target = target + target.T
    trace = data.draw(st.integers(1, num_tasks - 1))
    threshold = data.draw(st.sampled_from([-np.inf, -1.0, 0.5, 100.0]))
    nearest = MeanWithin().relaxation.nearest_spectral
    counts = GroupCounts(trace + 1, trace + 1)
    found, shift = nearest(target, counts, threshold)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-8)
    assert np.trace(found) == pytest.approx(trace + 1, abs=1e-6)
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues.min() > -1e-8
    assert eigenvalues.max() < 1 + 1e-8
    # Optimality: no other point of the set has a larger inner product with target - found.
    for _ in range(5):
        other = partition_matrix(rng.permutation(np.arange(num_tasks) % (trace + 1)))
        assert np.sum((target - found) * (other - found)) < 1e-6 * (1 + np.abs(target).sum())
    again, _ = nearest(target, counts, shift)
    np.testing.assert_allclose(again, found, atol=1e-7)


def test_eigenvalues_orthogonal_to_ones():
    matrix = make_affinity("random", 9)
    centre = np.eye(9) - 1 / 9
    expected = np.sort(np.append(eigenvalues_orthogonal_to_ones(matrix), 0.0))
    np.testing.assert_allclose(np.linalg.eigvalsh(centre @ matrix @ centre), expected, atol=1e-12)
    assert eigenvalues_orthogonal_to_ones(np.ones((1, 1))).shape == (0,)
