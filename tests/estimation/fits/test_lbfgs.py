"""The iteration on problems whose minimisers are known, over two kinds of vectors."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation.fits import lbfgs

NUM_SUBSETS, DIM = 5, 4


class Quadratics:
    """½ x'Ax - b'x for several A and b; vectors [m, d] with the identity for a metric."""

    def __init__(self, condition=30.0, first=1.0, sign=1.0):
        rng = np.random.default_rng(0)
        rotation = np.linalg.qr(rng.normal(size=(NUM_SUBSETS, DIM, DIM)))[0]
        scale = np.geomspace(1, condition, DIM)
        self.matrix = jnp.asarray(rotation * scale @ rotation.swapaxes(1, 2), jnp.float32)
        self.offset = jnp.asarray(rng.normal(size=(NUM_SUBSETS, DIM)), jnp.float32)
        self.minimiser = np.linalg.solve(self.matrix, self.offset[..., None])[..., 0]
        self.first, self.sign = first, sign

    def inner(self, left, right):
        return (left * right).sum(axis=-1)

    def margins(self, vector):
        return jnp.einsum("mij,mj->mi", self.matrix, vector)

    def shifted(self, margins, length, change):
        return margins + length[:, None] * change

    def renewed(self, vector):
        return vector

    def loss(self, vector, margins):
        # From the minimum on, so that a relative gap means something.
        lowest = 0.5 * (self.offset * self.minimiser).sum(axis=-1)
        return (0.5 * margins * vector - self.offset * vector).sum(axis=-1) + lowest + 1

    def gradient(self, vector, margins):
        return margins - self.offset

    def gap(self, gradient):
        return 0.5 * (gradient**2).sum(axis=-1)

    def precondition(self, vector, memory):
        return self.sign * vector

    def first_length(self, vector, direction, slope):
        return jnp.full_like(slope, self.first)


class Halves(NamedTuple):
    left: object
    right: object


class Split(Quadratics):
    """The same with vectors of two leaves that carry their margins."""

    def inner(self, left, right):
        return super().inner(join(left), join(right))

    def margins(self, vector):
        return ()

    def shifted(self, margins, length, change):
        return ()

    def loss(self, vector, margins):
        return super().loss(join(vector), super().margins(join(vector)))

    def gradient(self, vector, margins):
        return split(super().gradient(None, super().margins(join(vector))))

    def gap(self, gradient):
        return super().gap(join(gradient))

    def precondition(self, vector, memory):
        return split(super().precondition(join(vector), memory))


def join(vector):
    return jnp.concatenate([vector.left, vector.right[:, :, 0]], axis=1)


def split(vector):
    return Halves(vector[:, :1], vector[:, 1:, None])


ORIGIN = jnp.zeros((NUM_SUBSETS, DIM), jnp.float32)


def minimise(problem, origin=ORIGIN, history=8, tol=1e-5, max_steps=200):
    return lbfgs.minimise(problem, origin, history=history, tol=tol, max_steps=max_steps)


@pytest.mark.parametrize("history", [0, 1, 2, 8])
def test_minimisers_are_found_whatever_is_remembered(history):
    problem = Quadratics()
    found = minimise(problem, history=history)
    assert found.converged.all()
    np.testing.assert_allclose(found.point, problem.minimiser, atol=1e-2)
    np.testing.assert_allclose(found.loss, 1, atol=2e-5)
    assert found.steps.shape == (NUM_SUBSETS,)


def test_memory_saves_steps():
    steps = [int(minimise(Quadratics(), history=history).steps[0]) for history in (0, 1, 8)]
    assert steps[2] < steps[1] < steps[0] / 2


def test_vectors_may_be_trees_that_carry_their_margins():
    expected = minimise(Quadratics())
    found = minimise(Split(), split(ORIGIN))
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_allclose(join(found.point), expected.point, atol=1e-5)


@pytest.mark.slow
def test_the_loss_never_rises_however_long_the_first_length():
    problem = Quadratics(first=1000.0)
    state = lbfgs.init(problem, ORIGIN, 3)
    for _ in range(8):
        after = lbfgs.step(problem, state)
        assert (after.loss <= state.loss + 1e-5).all()
        np.testing.assert_allclose(after.margins, problem.margins(after.point), atol=1e-4)
        state = after
    assert int(state.num_steps) == 8


def test_a_subset_that_has_converged_stays_where_it_is():
    problem = Quadratics()
    there = jnp.arange(NUM_SUBSETS) == 2
    point = jnp.where(there[:, None], problem.minimiser, ORIGIN)
    state = lbfgs.terminate(problem, lbfgs.init(problem, point, 3), 1e-6)
    np.testing.assert_array_equal(state.active, ~there)
    state = lbfgs.step(problem, state)
    np.testing.assert_array_equal((state.point == point).all(axis=1), there)


def test_a_refused_direction_clears_the_memory_and_the_next_one_is_plain():
    problem = Quadratics()
    state = lbfgs.init(problem, ORIGIN, 3)
    for _ in range(2):
        state = lbfgs.step(problem, state)
    misled = jnp.arange(NUM_SUBSETS) == 1
    # Curvature that is negative turns the direction uphill.
    curvature = jnp.where(misled, -1e6, state.memory.curvature)
    state = state._replace(memory=state.memory._replace(curvature=curvature))
    refused = lbfgs.step(problem, state)
    np.testing.assert_array_equal((refused.point == state.point).all(axis=1), misled)
    np.testing.assert_array_equal((refused.memory.curvature == 0).all(axis=0), misled)
    assert refused.active.all()
    plain = lbfgs.step(problem, refused)
    move = (plain.point - refused.point)[1]
    np.testing.assert_allclose(
        move / jnp.linalg.norm(move),
        -refused.gradient[1] / jnp.linalg.norm(refused.gradient[1]),
        atol=1e-4,
    )
    assert (plain.loss <= refused.loss).all()


def test_where_the_gradient_itself_is_refused_it_stops_and_says_so():
    found = minimise(Quadratics(sign=-1.0))
    assert not found.converged.any()
    assert (found.steps == 1).all()
    np.testing.assert_array_equal(found.point, ORIGIN)
