"""The transfer matrix against sums over all pairs of folds, and what noise does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation.transfer import blocks_of_steps, fold_gradients, transfer_matrix

NUM_TASKS, NUM_FOLDS, DIM = 4, 5, 7
RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(NUM_TASKS, NUM_FOLDS, DIM)).astype(np.float32)


def by_loops(gradients):
    """K, pair of folds by pair of folds."""
    units = np.sqrt((gradients**2).sum(-1).mean(1))
    matrix = np.zeros((len(gradients), len(gradients)))
    for i, first in enumerate(gradients):
        for j, second in enumerate(gradients):
            products = [
                first[h] @ second[q]
                for h in range(len(first))
                for q in range(len(second))
                if i != j or h != q
            ]
            matrix[i, j] = np.mean(products) / (units[i] * units[j])
    return matrix, units


def test_it_is_the_mean_over_pairs_of_folds():
    found = transfer_matrix(jnp.asarray(GRADIENTS))
    matrix, units = by_loops(GRADIENTS.astype(np.float64))
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.units, units, rtol=1e-5)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)


@pytest.mark.parametrize("order", [[2, 0, 3, 1], [1, 0, 2, 3]])
def test_tasks_can_be_renumbered(order):
    once = transfer_matrix(jnp.asarray(GRADIENTS)).matrix
    again = transfer_matrix(jnp.asarray(GRADIENTS[order])).matrix
    np.testing.assert_allclose(again, once[np.ix_(order, order)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_of_the_gradients_do_not_matter(scale):
    scales = jnp.asarray([scale, 1.0, 3.0, 1 / scale])[:, None, None]
    once = transfer_matrix(jnp.asarray(GRADIENTS))
    again = transfer_matrix(jnp.asarray(GRADIENTS) * scales)
    np.testing.assert_allclose(again.matrix, once.matrix, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_noise_biases_no_entry_and_standard_errors_hold_it():
    """Over draws the mean is the noiseless product; its spread is the standard error's size."""
    centre = jnp.asarray(RNG.normal(size=(3, DIM)), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 2000)

    def one(key):
        noise = 2.0 * jax.random.normal(key, (3, NUM_FOLDS, DIM))
        found = transfer_matrix(centre[:, None] + noise)
        scale = found.units[:, None] * found.units
        return found.matrix * scale, found.standard_error * scale

    matrices, errors = jax.vmap(one)(keys)
    spread = matrices.std(axis=0)
    expected = centre @ centre.T
    assert (jnp.abs(matrices.mean(0) - expected) < 4 * spread / jnp.sqrt(len(keys))).all()
    off = ~np.eye(3, dtype=bool)
    ratio = np.sqrt((errors**2).mean(0)) / spread
    assert ((ratio[off] > 0.8) & (ratio[off] < 1.25)).all()


def test_gradients_of_folds_are_means_over_their_steps():
    features = jnp.asarray(RNG.normal(size=(2, 12, 3)), jnp.float32)
    advantage = jnp.asarray(RNG.normal(size=(2, 12)), jnp.float32)
    mask = jnp.ones((2, 12), bool).at[0, 4:8].set(False).at[1, 0].set(False)
    folds = blocks_of_steps(2, 12, 3)
    np.testing.assert_array_equal(folds[0], np.repeat([0, 1, 2], 4))
    found = fold_gradients(features.at[0, 5].set(jnp.nan), advantage, folds, 3, mask)
    weighted = np.asarray(features) * np.asarray(advantage)[..., None]
    np.testing.assert_allclose(found[0, 0], weighted[0, :4].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0, 1], 0)
    np.testing.assert_allclose(found[1, 0], weighted[1, 1:4].mean(0), rtol=1e-5, atol=1e-6)


def test_bad_shapes_are_named():
    features, advantage = jnp.ones((2, 6, 3)), jnp.ones((2, 6))
    with pytest.raises(ValueError, match=r"features has shape \(2, 6, 3\) and advantage \(2, 5\)"):
        fold_gradients(features, advantage[:, :5], blocks_of_steps(2, 5, 2), 2)
    with pytest.raises(ValueError, match=r"folds has shape \(2, 5\)"):
        fold_gradients(features, advantage, blocks_of_steps(2, 5, 2), 2)
    with pytest.raises(ValueError, match="num_folds is 1; it must be at least 2"):
        fold_gradients(features, advantage, blocks_of_steps(2, 6, 1), 1)
    with pytest.raises(ValueError, match="at least 2 folds"):
        transfer_matrix(jnp.ones((3, 1, 4)))
