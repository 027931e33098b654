"""A projection from outside the package, and what is no projection."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgx_jax
from pgx_jax.estimation import (
    PROJECTIONS,
    explicit_features,
    fit_subsets,
    gaussian_projection,
    gradient_features,
    perturbed_params,
)
from pgx_jax.estimation.scores.adapted import AdaptedPolicies
from tests.estimation.data import all_subsets
from tests.estimation.policies import NUM_STEPS, NUM_TASKS, POLICIES, policy
from tests.reference import gradients as reference

DIM = 5


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SampledCoordinates:
    """Some coordinates of the gradient, drawn with replacement: g̃·h̃ is g·h on average."""

    index: jax.Array
    dim: int = field(metadata={"static": True})
    shapes: tuple = field(metadata={"static": True})
    treedef: Any = field(metadata={"static": True})

    @property
    def num_params(self):
        return sum(math.prod(shape) for shape in self.shapes)

    def project(self, gradients):
        flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(gradients)]
        scale = math.sqrt(self.num_params / self.dim)
        return scale * jnp.concatenate(flat, axis=1)[:, self.index]

    def lift(self, coef):
        scale = math.sqrt(self.num_params / self.dim)
        flat = jnp.zeros((*coef.shape[:-1], self.num_params)).at[..., self.index].add(scale * coef)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        leaves = [
            part.reshape(*coef.shape[:-1], *shape)
            for part, shape in zip(jnp.split(flat, ends, axis=-1), self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.treedef, leaves)

    def features(self, policy, data, *, batch_size, max_stored_bytes):
        return explicit_features(self, policy, data, batch_size=batch_size)


def sampled_coordinates(key, params, dim):
    leaves, treedef = jax.tree.flatten(params)
    shapes = tuple(leaf.shape for leaf in leaves)
    index = jax.random.randint(key, (dim,), 0, sum(leaf.size for leaf in leaves))
    return SampledCoordinates(index, dim, shapes, treedef)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_one_of_one_s_own_serves_from_gradients_to_policies(name):
    log_prob, params, data = policy(name)
    make = PROJECTIONS.find(f"{__name__}:sampled_coordinates")
    projection = make(jax.random.key(0), params, DIM)
    features = gradient_features(log_prob, params, data, projection, batch_size=4)
    gradients = reference.gradient_matrix(log_prob, params, data.observation, data.action)
    scale = math.sqrt(gradients.shape[-1] / DIM)
    expected = scale * gradients[..., np.asarray(projection.index)]
    assert features.shape == (NUM_TASKS, NUM_STEPS, DIM)
    np.testing.assert_allclose(
        features, expected * np.asarray(data.mask)[..., None], rtol=1e-4, atol=1e-5
    )
    subsets = all_subsets(NUM_TASKS)
    fits = fit_subsets(features, data.advantage, subsets, mask=data.mask)
    moved = perturbed_params(params, projection, fits.coef[0], 0.1)
    assert jax.tree.structure(moved) == jax.tree.structure(params)
    # g̃·x = g·(P x)
    step = jax.tree.leaves(projection.lift(fits.coef[0]))
    flat = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in step])
    np.testing.assert_allclose(
        expected @ np.asarray(fits.coef[0], np.float64), gradients @ flat, rtol=1e-4, atol=1e-5
    )


def test_names():
    assert set(PROJECTIONS) == {"gaussian", "tensor_sketch", "rademacher"}
    assert PROJECTIONS.find("gaussian") is gaussian_projection
    with pytest.raises(ValueError, match='unknown projection "gausian"; did you mean "gaussian"'):
        PROJECTIONS.find("gausian")


def test_what_is_no_projection():
    log_prob, params, data = policy("plain")

    class Unregistered(SampledCoordinates):
        pass

    projection = sampled_coordinates(jax.random.key(0), params, DIM)
    fields = (projection.index, DIM, projection.shapes, projection.treedef)
    for wrong, error, message in (
        ("gaussian", TypeError, "projection is a str without dim, project, lift, features; pass"),
        (Unregistered(*fields), TypeError, "Unregistered, which is no pytree; decorate the class"),
        (
            SampledCoordinates(projection.index, DIM + 1, *fields[2:]),
            ValueError,
            r"returned shape \(1, 5\) for one gradient; it must return \[1, dim\] = \[1, 6\]",
        ),
    ):
        with pytest.raises(error, match=message):
            gradient_features(log_prob, params, data, wrong)


def test_no_projection_passes_for_another_to_jax():
    """Equal structures would share compiled programs, and with them another matrix."""
    params = {"w": jnp.ones((3, 4))}
    made = [make(jax.random.key(0), params, 4) for make in PROJECTIONS.values()]
    structures = [jax.tree.structure(projection) for projection in made]
    assert len(set(structures)) == len(made)
    coef = jnp.ones((2, 4))
    adapted = {jax.tree.structure(AdaptedPolicies(params, one, coef)) for one in made}
    assert len(adapted) == len(made)


def test_another_class_of_equal_fields_gets_programs_of_its_own():
    params, data = {"w": jnp.ones((3,))}, jnp.arange(12.0).reshape(2, 2, 3)
    transitions = pgx_jax.Transitions(data, data, jnp.array([[1.0, -1.0], [2.0, 1.0]]))

    def scaled(factor):
        @jax.tree_util.register_dataclass
        @dataclass(frozen=True)
        class Scaled:
            key: Any
            dim: int = field(metadata={"static": True})

            @property
            def treedef(self):
                return jax.tree.structure(params)

            @property
            def shapes(self):
                return ((3,),)

            def project(self, gradients, **_):
                return factor * gradients["w"]

            def lift(self, coef):
                return {"w": factor * coef}

            def features(self, policy, data, **options):
                return explicit_features(self, policy, data, batch_size=2)

        return Scaled(jax.random.key(0), 3)

    def log_prob(params, observation, action):
        return params["w"] @ observation

    # Structures differ by hash, most of the time; where hashes meet, only the type tells them.
    for factor in (1.0, 2.0, 3.0):
        found = pgx_jax.gradient_features(log_prob, params, transitions, scaled(factor))
        np.testing.assert_allclose(found, factor * data, rtol=1e-6)
