import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.estimation import gaussian_projection, rademacher_projection
from tests.reference.gradients import dense_matrix

PARAMS = {"a": jnp.zeros((5, 3)), "b": [jnp.zeros(4), jnp.zeros(())]}  # p = 20
DIM = 6


def projection_of(seed, block_size=7):
    return gaussian_projection(jax.random.key(seed), PARAMS, DIM, block_size=block_size)


def draw(seed, *leading):
    """A pytree like PARAMS with leading axes, and the same as float64[..., p]."""
    flat = np.random.default_rng(seed).normal(size=(*leading, 20))
    a, vector, scalar = np.split(flat, [15, 19], axis=-1)
    tree = {
        "a": jnp.asarray(a.reshape(*leading, 5, 3), jnp.float32),
        "b": [jnp.asarray(vector, jnp.float32), jnp.asarray(scalar[..., 0], jnp.float32)],
    }
    return tree, flat


def flatten(tree, leading):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leading, -1) for leaf in leaves], axis=-1)


@pytest.mark.slow
def test_inner_products_are_unbiased_with_the_stated_variance():
    draws = 20_000
    rng = np.random.default_rng(0)
    g = rng.normal(size=20)
    h = g + rng.normal(size=20)
    pair = {
        "a": jnp.asarray(np.stack([g, h])[:, :15].reshape(2, 5, 3), jnp.float32),
        "b": [
            jnp.asarray(np.stack([g, h])[:, 15:19], jnp.float32),
            jnp.asarray([g[19], h[19]], jnp.float32),
        ],
    }

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def product(key, pair):
        projected = gaussian_projection(key, PARAMS, DIM, block_size=7).project(pair)
        return (projected[0] * projected[1]).sum(), (projected[0] ** 2).sum()

    products, squares = product(jax.random.split(jax.random.key(1), draws), pair)
    cases = [
        (products, g @ h, (g @ g) * (h @ h) + (g @ h) ** 2),
        (squares, g @ g, 2 * (g @ g) ** 2),
    ]
    for found, mean, total in cases:
        values = np.asarray(found, np.float64)
        variance = total / DIM
        assert abs(values.mean() - mean) < 5 * math.sqrt(variance / draws)
        deviations = (values - mean) ** 2
        error = deviations.std() / math.sqrt(draws)
        assert error < 0.1 * variance  # enough draws to tell
        assert abs(deviations.mean() - variance) < 5 * error


def test_entries_are_standard_normal_over_sqrt_dim_and_blocks_differ():
    params = {"w": jnp.zeros((40, 50))}
    projection = gaussian_projection(jax.random.key(0), params, 30, block_size=512)
    entries = dense_matrix(projection) * math.sqrt(30)
    assert entries.shape == (2000, 30)
    size = entries.size
    assert abs(entries.mean()) < 5 / math.sqrt(size)
    assert abs((entries**2).mean() - 1) < 5 * math.sqrt(2 / size)
    assert abs((entries**4).mean() - 3) < 5 * math.sqrt(96 / size)
    # Rows of P are independent, so |correlation| of two blocks is a few 1/sqrt(size).
    first, second = entries[:512].ravel(), entries[512:1024].ravel()
    assert abs(np.mean(first * second)) < 5 / math.sqrt(first.size)


def test_rademacher_entries_are_independent_signs_over_sqrt_dim():
    params = {"w": jnp.zeros((40, 50))}
    projection = rademacher_projection(jax.random.key(0), params, 45, block_size=512)
    signs = dense_matrix(projection) * math.sqrt(45)
    assert signs.shape == (2000, 45)
    np.testing.assert_allclose(np.abs(signs), 1, rtol=1e-6)
    spread = 1 / math.sqrt(signs.size)
    assert abs(signs.mean()) < 5 * spread
    for one, other in (
        (signs[:512], signs[512:1024]),  # blocks
        (signs[:-1], signs[1:]),  # rows
        (signs[:, :-1], signs[:, 1:]),  # columns within a random word
        (signs[:, :13], signs[:, 32:]),  # and across words
    ):
        assert abs((one * other).mean()) < 5 / math.sqrt(one.size)


def test_rademacher_directions_equal_the_dense_matrix():
    projection = rademacher_projection(jax.random.key(5), PARAMS, DIM, block_size=7)
    other = rademacher_projection(jax.random.key(6), PARAMS, DIM, block_size=7)
    assert (np.asarray(projection.matrix()) != np.asarray(other.matrix())).any()
    dense = dense_matrix(projection)
    gradients, flat = draw(0, 3)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(projection.project(gradients), flat @ dense)
    close(projection.project(gradients, matrix=projection.matrix()), flat @ dense)
    coef = np.random.default_rng(1).normal(size=(3, DIM)).astype(np.float32)
    close(flatten(projection.lift(coef), (3,)), coef @ dense.T)
    with pytest.raises(ValueError, match="dim is 0; a projection needs at least one"):
        rademacher_projection(jax.random.key(0), PARAMS, 0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31 - 1))
def test_lift_is_the_adjoint_of_project(seed):
    projection = projection_of(seed)
    gradients, flat = draw(seed, 3)
    coef = np.random.default_rng(seed + 1).normal(size=(3, DIM)).astype(np.float32)
    left = (np.asarray(projection.project(gradients), np.float64) * coef).sum(axis=-1)
    right = (flat * flatten(projection.lift(coef), (3,))).sum(axis=-1)
    size = np.linalg.norm(flat, axis=-1) * np.linalg.norm(coef, axis=-1) * math.sqrt(20 / DIM)
    np.testing.assert_array_less(np.abs(left - right), 1e-5 * size)


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31 - 1), block_size=st.sampled_from([7, 20]))
def test_both_directions_equal_the_dense_matrix(seed, block_size):
    projection = projection_of(seed, block_size)
    dense = dense_matrix(projection)
    assert dense.shape == (20, DIM)
    gradients, flat = draw(seed, 3)
    expected = flat @ dense
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(projection.project(gradients), expected)
    close(projection.project(gradients, matrix=projection.matrix()), expected)
    coef = np.random.default_rng(seed).normal(size=(3, DIM)).astype(np.float32)
    close(flatten(projection.lift(coef), (3,)), coef.astype(np.float64) @ dense.T)


def test_blocks_cover_every_leaf_row_by_row():
    projection = projection_of(0)
    assert (projection.num_params, projection.nbytes) == (20, 20 * DIM * 4)
    assert projection.matrix().shape == (20, DIM)
    assert projection.matrix().dtype == jnp.float32
    # rows, columns, rows in a block, blocks: two rows of three are the most within 7
    assert [tuple(projection.blocks(leaf)) for leaf in range(3)] == [
        (5, 3, 2, 3),
        (4, 1, 4, 1),
        (1, 1, 1, 1),
    ]
    matrix = np.asarray(projection.matrix())
    close = partial(np.testing.assert_allclose, rtol=1e-6)
    close(matrix[6:12], projection.block(0, 1))
    close(matrix[12:15], projection.block(0, 2)[:3])
    close(matrix[15:19], projection.block(1, 0))
    assert projection_of(0, 1).blocks(0) == (5, 3, 1, 5)  # never less than a row
    assert len(np.unique(matrix)) == matrix.size


def test_equal_keys_give_equal_projections():
    first, again, other = projection_of(1).matrix(), projection_of(1).matrix(), projection_of(2)
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other.matrix())).all()


def test_lift_batches_over_leading_axes():
    projection = projection_of(0)
    coef = np.random.default_rng(0).normal(size=(2, 3, DIM)).astype(np.float32)
    lifted = projection.lift(coef)
    assert jax.tree.structure(lifted) == jax.tree.structure(PARAMS)
    assert jax.tree.map(jnp.shape, lifted) == {"a": (2, 3, 5, 3), "b": [(2, 3, 4), (2, 3)]}
    single = projection.lift(coef[1, 2])
    assert jax.tree.map(jnp.shape, single) == jax.tree.map(jnp.shape, PARAMS)
    for many, one in zip(jax.tree.leaves(lifted), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(many[1, 2], one, rtol=1e-5, atol=1e-6)


def test_lift_keeps_the_types_of_the_parameters():
    params = {"half": jnp.zeros(3, jnp.bfloat16), "full": jnp.zeros(2)}
    projection = gaussian_projection(jax.random.key(0), params, 2)
    lifted = projection.lift(jnp.ones(2))
    assert jax.tree.map(lambda leaf: leaf.dtype.name, lifted) == {
        "half": "bfloat16",
        "full": "float32",
    }
    ones = jax.tree.map(lambda leaf: jnp.ones((1, *leaf.shape), leaf.dtype), params)
    assert projection.project(ones).dtype == jnp.float32


def test_shapes_are_enough_to_make_one():
    shapes = jax.eval_shape(lambda: PARAMS)
    made = gaussian_projection(jax.random.key(0), shapes, DIM, block_size=7)
    np.testing.assert_array_equal(made.matrix(), projection_of(0).matrix())


@pytest.mark.parametrize(
    "gradients",
    [
        {"a": jnp.zeros((2, 5, 3))},
        {"a": jnp.zeros((2, 3, 5)), "b": [jnp.zeros((2, 4)), jnp.zeros(2)]},
        {"a": jnp.zeros((2, 5, 3)), "b": (jnp.zeros((2, 4)), jnp.zeros(2))},
        {"c": jnp.zeros((2, 5, 3)), "b": [jnp.zeros((2, 4)), jnp.zeros(2)]},
    ],
    ids=["leaf missing", "shape", "container", "name"],
)
def test_project_rejects_other_trees(gradients):
    with pytest.raises(ValueError, match="the projection was made for parameters of shapes"):
        projection_of(0).project(gradients)


def test_lift_rejects_other_lengths():
    with pytest.raises(ValueError, match=r"coef has shape \(2, 5\); its last axis must be 6"):
        projection_of(0).lift(jnp.zeros((2, 5)))


@pytest.mark.parametrize("dim", [0, -3])
def test_rejects_no_dimension(dim):
    with pytest.raises(ValueError, match=f"dim is {dim}; a projection needs at least one"):
        gaussian_projection(jax.random.key(0), PARAMS, dim)


def test_rejects_bad_parameters():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="block_size is 0"):
        gaussian_projection(key, PARAMS, block_size=0)
    with pytest.raises(TypeError, match="params holds a leaf of dtype int32"):
        gaussian_projection(key, {"w": jnp.zeros(3), "step": jnp.zeros((), jnp.int32)})
    for empty in ({}, {"w": jnp.zeros((0, 3))}):
        with pytest.raises(ValueError, match="params holds no parameters"):
            gaussian_projection(key, empty)
