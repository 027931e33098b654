import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.estimation import gradient_features, tensor_sketch
from pgx_jax.estimation.projections.features import _project_gradients
from pgx_jax.types import Transitions
from tests.estimation.models import factored, normal
from tests.estimation.policies import NUM_STEPS, NUM_TASKS, POLICIES, policy
from tests.estimation.precision import strict_x64
from tests.reference import gradients as reference

PARAMS = {
    "layer": {"bias": jnp.zeros(3), "kernel": jnp.zeros((5, 3))},
    "stack": jnp.zeros((2, 2, 3)),
    "scalar": jnp.zeros(()),
    "lone": jnp.zeros(7),
}
NUM_PARAMS = 38


def dense(sketch):
    """The map as float64[p, d], one unit vector at a time."""
    return np.asarray(sketch.project(draw(np.eye(sketch.num_params), sketch)), np.float64)


def draw(flat, sketch):
    """Rows [B, p] as a batch of trees."""
    sizes = [math.prod(shape) for shape in sketch.shapes]
    parts = np.split(np.asarray(flat, np.float32), np.cumsum(sizes)[:-1], axis=-1)
    leaves = [
        jnp.asarray(part.reshape(*part.shape[:-1], *shape))
        for part, shape in zip(parts, sketch.shapes, strict=True)
    ]
    return jax.tree.unflatten(sketch.treedef, leaves)


def flatten(tree, leading):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leading, -1) for leaf in leaves], axis=-1)


# What becomes of the factors depends on their shapes alone; these have all of them.
SHAPES = ("linen", "convolution", "attention", "modules in one leaf", "unit axes", "one call twice")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dim"),
    [*((name, 7) for name in SHAPES), ("batched over the last axis", 7), ("linen", 1)],
)
def test_factors_and_gradients_have_one_sketch(name, dim):
    model, factorisation, factors, gradients = factored(name)
    sketch = tensor_sketch(jax.random.key(0), model.params, dim)

    @jax.jit
    def sketched(sketch, factors):
        return sketch.project_factors(factorisation, factors, sketch.spectra(factorisation))

    found, expected = sketched(sketch, factors), sketch.project(gradients)
    assert found.shape == (3, dim)
    assert found.dtype == expected.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dim", [6, 400])
def test_every_entry_has_one_place_and_a_sign(dim):
    sketch = tensor_sketch(jax.random.key(1), PARAMS, dim)
    assert sketch.num_params == NUM_PARAMS
    matrix = dense(sketch)
    assert ((np.abs(matrix) == 1).sum(axis=1) == 1).all()
    assert (np.abs(matrix).sum(axis=1) == 1).all()


def test_a_bias_is_one_more_row_of_its_kernel():
    sketch = tensor_sketch(jax.random.key(1), PARAMS, 400)
    tables = dict(zip(["bias", "kernel", "lone", "scalar", "stack"], sketch.tables(), strict=True))
    assert sketch.hosts == ((1, -1), None, None, None, None)
    np.testing.assert_array_equal(tables["bias"].columns, tables["kernel"].columns)
    np.testing.assert_array_equal(tables["bias"].column_signs, tables["kernel"].column_signs)
    rows = [*np.asarray(tables["kernel"].rows), int(tables["bias"].rows[0])]
    assert len(set(rows)) == 6  # distinct places as long as there are enough
    for table, columns in (("kernel", 3), ("stack", 3), ("lone", 7)):
        assert len(set(np.asarray(tables[table].columns).tolist())) == columns


def test_a_bias_may_lie_along_the_first_axis():
    params = {"layer": {"bias": jnp.zeros(5), "weight": jnp.zeros((5, 3))}, "w": jnp.zeros((2, 5))}
    sketch = tensor_sketch(jax.random.key(1), params, 40)
    assert sketch.hosts == ((1, 0), None, None)
    np.testing.assert_array_equal(sketch.tables()[0].columns, sketch.tables()[1].rows)
    assert (np.abs(dense(sketch)).sum(axis=1) == 1).all()


def test_inner_products_are_unbiased_and_no_noisier_than_gaussian_ones():
    draws, dim = 2_000, 6
    rng = np.random.default_rng(0)
    g = rng.normal(size=NUM_PARAMS)
    h = g + rng.normal(size=NUM_PARAMS)
    # A layer's part is an outer product, as it is for a real gradient.
    g[3:18], h[3:18] = (np.outer(rng.normal(size=5), part[:3]).ravel() for part in (g, h))
    pair = draw(np.stack([g, h]), tensor_sketch(jax.random.key(0), PARAMS, dim))

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def product(key, pair):
        projected = tensor_sketch(key, PARAMS, dim).project(pair)
        return (projected[0] * projected[1]).sum(), (projected[0] ** 2).sum()

    products, squares = product(jax.random.split(jax.random.key(1), draws), pair)
    cases = [
        (products, g @ h, (g @ g) * (h @ h) + (g @ h) ** 2),
        (squares, g @ g, 2 * (g @ g) ** 2),
    ]
    for found, mean, total in cases:
        values = np.asarray(found, np.float64)
        assert abs(values.mean() - mean) < 5 * values.std() / math.sqrt(draws)
        assert values.var() < 1.2**2 * total / dim


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "actions"), [(16, 2), pytest.param(64, 4, marks=pytest.mark.slow)]
)
def test_error_of_a_policy_s_gram_matrix_is_below_the_gaussian_s(width, actions):
    """Small layers, where a collision of two columns or rows would be felt most."""
    params = {
        "first": {"bias": jnp.zeros(width), "kernel": normal(0, 4, width) / 2},
        "last": {"bias": jnp.zeros(actions), "kernel": 0.1 * normal(1, width, actions)},
    }

    def log_prob(params, observation, action):
        first, last = params["first"], params["last"]
        hidden = jnp.tanh(observation @ first["kernel"] + first["bias"])
        return jax.nn.log_softmax(hidden @ last["kernel"] + last["bias"])[action]

    # Correlated, as states are.
    observation = 1 + 0.5 * normal(2, 64, 4)
    action = jnp.arange(64) % actions
    gradients = jax.vmap(jax.grad(log_prob), (None, 0, 0))(params, observation, action)
    flat = flatten(gradients, (64,))
    exact = flat @ flat.T
    norms = np.sqrt(np.diag(exact))

    @jax.jit
    @jax.vmap
    def project(key):
        return tensor_sketch(key, params, 100).project(gradients)

    features = np.asarray(project(jax.random.split(jax.random.key(3), 40)), np.float64)
    difference = features @ features.swapaxes(1, 2) - exact[None]
    # A Gaussian projection's variance is (|g|²|h|² + (g·h)²) / d.
    cosine = exact / np.outer(norms, norms)
    gaussian = np.sqrt(np.mean(1 + cosine**2) / 100)
    assert np.sqrt(np.mean((difference / np.outer(norms, norms)) ** 2)) < gaussian


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31 - 1))
def test_lift_is_the_adjoint_of_project(seed):
    sketch = tensor_sketch(jax.random.key(seed), PARAMS, 6)
    flat = np.random.default_rng(seed).normal(size=(3, NUM_PARAMS)).astype(np.float32)
    coef = np.random.default_rng(seed + 1).normal(size=(3, 6)).astype(np.float32)
    left = (np.asarray(sketch.project(draw(flat, sketch)), np.float64) * coef).sum(axis=-1)
    right = (flat * flatten(sketch.lift(coef), (3,))).sum(axis=-1)
    size = np.linalg.norm(flat, axis=-1) * np.linalg.norm(coef, axis=-1) * math.sqrt(NUM_PARAMS)
    np.testing.assert_array_less(np.abs(left - right), 1e-6 * size)


def test_lift_batches_and_keeps_types():
    params = {"half": jnp.zeros((3, 2), jnp.bfloat16), "full": jnp.zeros(2)}
    sketch = tensor_sketch(jax.random.key(0), params, 5)
    coef = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    lifted, single = sketch.lift(coef), sketch.lift(coef[1, 2])
    assert jax.tree.map(jnp.shape, lifted) == {"half": (2, 4, 3, 2), "full": (2, 4, 2)}
    assert {name: leaf.dtype.name for name, leaf in lifted.items()} == {
        "half": "bfloat16",
        "full": "float32",
    }
    for name in params:
        np.testing.assert_array_equal(lifted[name][1, 2], single[name])
    with pytest.raises(ValueError, match=r"coef has shape \(2, 5\); its last axis must be 6"):
        tensor_sketch(jax.random.key(0), PARAMS, 6).lift(jnp.zeros((2, 5)))


def test_equal_keys_give_equal_sketches():
    first, again, other = (dense(tensor_sketch(jax.random.key(k), PARAMS, 20)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in POLICIES if name != "plain"])
def test_features_are_the_sketch_of_a_loop_of_gradients(name):
    log_prob, params, data = policy(name)
    sketch = tensor_sketch(jax.random.key(3), params, 6)
    features = gradient_features(log_prob, params, data, sketch, batch_size=4)
    assert features.shape == (NUM_TASKS, NUM_STEPS, 6)
    assert features.dtype == jnp.float32
    gradients = reference.gradient_matrix(log_prob, params, data.observation, data.action)
    expected = gradients @ dense(sketch) * np.asarray(data.mask)[..., None]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_same_shapes_do_not_recompile_and_jit_is_allowed():
    log_prob, params, data = policy("linen")
    sketch = tensor_sketch(jax.random.key(3), params, 6)
    features = gradient_features(log_prob, params, data, sketch, batch_size=4)
    compiled = _project_gradients._cache_size()
    other = tensor_sketch(jax.random.key(4), params, 6)
    gradient_features(log_prob, jax.tree.map(jnp.negative, params), data, other, batch_size=4)
    assert _project_gradients._cache_size() == compiled
    jitted = jax.jit(lambda *rest: gradient_features(log_prob, *rest, batch_size=4))
    np.testing.assert_allclose(jitted(params, data, sketch), features, rtol=1e-5, atol=1e-6)


def test_never_forms_a_gradient():
    width, batch_size = 256, 16
    params = {"first": jnp.zeros((width, width)), "last": jnp.zeros((width, 4))}

    def log_prob(params, observation, action):
        hidden = jnp.tanh(observation @ params["first"])
        return jax.nn.log_softmax(hidden @ params["last"])[action]

    shape = jax.ShapeDtypeStruct
    data = Transitions(
        shape((4, 64, width), jnp.float32),
        shape((4, 64), jnp.int32),
        shape((4, 64), jnp.float32),
        shape((4, 64), bool),
    )
    sketch = tensor_sketch(jax.random.key(0), params, 8)
    compiled = _project_gradients.lower(
        log_prob, params, data, sketch, batch_size=batch_size, max_stored_bytes=0
    ).compile()
    batch = 4 * batch_size * width * width
    assert compiled.memory_analysis().temp_size_in_bytes < batch / 4


@pytest.mark.slow
def test_types_hold_under_x64_and_without_rank_promotion():
    log_prob, params, data = policy("linen")
    sketch = tensor_sketch(jax.random.key(3), params, 6)
    expected = gradient_features(log_prob, params, data, sketch, batch_size=4)
    with strict_x64():
        double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        doubled = tensor_sketch(jax.random.key(3), double, 6)
        features = gradient_features(log_prob, double, data, doubled, batch_size=4)
        lifted = doubled.lift(jnp.ones(6))
        projected = doubled.project(jax.tree.map(lambda leaf: leaf[None], double))
    assert features.dtype == projected.dtype == np.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(lifted)} == {np.dtype(np.float64)}
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_rejects_what_it_was_not_made_for():
    log_prob, params, data = policy("plain")
    other = tensor_sketch(jax.random.key(0), {"w": params["w"]}, 6)
    with pytest.raises(ValueError, match="the projection was made for parameters of shapes"):
        gradient_features(log_prob, params, data, other)
    with pytest.raises(ValueError, match="the projection was made for parameters of shapes"):
        other.project({"w": jnp.zeros((2, 3, 4))})
    with pytest.raises(ValueError, match="dim is 0; a projection needs at least one"):
        tensor_sketch(jax.random.key(0), params, 0)
    with pytest.raises(ValueError, match="a tensor sketch has at most 32768 dimensions"):
        tensor_sketch(jax.random.key(0), params, 40_000)
    with pytest.raises(TypeError, match="params holds a leaf of dtype int32"):
        tensor_sketch(jax.random.key(0), {"w": jnp.zeros((2, 2), jnp.int32)})


def test_gradients_that_are_not_finite():
    log_prob, params, data = policy("plain")
    observation = data.observation.at[1, jnp.argmax(data.mask[1])].set(jnp.inf)
    sketch = tensor_sketch(jax.random.key(0), params, 6)
    with pytest.raises(ValueError, match=r"NaN or infinite for tasks \[1\]"):
        gradient_features(log_prob, params, data._replace(observation=observation), sketch)
