"""PCGrad against the paper's loop in NumPy, and by its properties."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pgx_jax.rl.gradients import COMBINERS, MEAN, pcgrad
from pgx_jax.rl.gradients.pcgrad import gram_matrix, project_conflicts

N, P = 3, 5
numbers = arrays.arrays(np.float32, (N, P), elements=st.floats(-10, 10, width=32))


@jax.jit
def step(updates, state):
    return pcgrad().update(updates, state)


def combine(grads, seed=0):
    """By leaves of two shapes, as one row again."""
    grads = jnp.asarray(grads)
    tree = {"one": grads[:, :2], "two": grads[:, 2:].reshape(len(grads), -1, 1)}
    updates, _ = step(tree, pcgrad(seed).init(None))
    return np.concatenate([np.ravel(updates["one"]), np.ravel(updates["two"])])


def surgery(grads, task, order):
    """Lines 4 to 8 of algorithm 1."""
    result = grads[task].astype(np.float64)
    for other in order:
        if other != task and result @ grads[other] < 0:
            result = result - result @ grads[other] / (grads[other] @ grads[other]) * grads[other]
    return result


projected = jax.jit(
    lambda grads, task, order: project_conflicts(gram_matrix(grads), task, order) @ grads
)


def test_two_tasks_by_hand():
    # Inner product -1: half of the second is added to the first, the whole first to the second.
    grads = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])
    np.testing.assert_allclose(combine(grads), np.mean([[0.5, 0.5, 0], [0, 1, 0]], axis=0))


def test_what_does_not_conflict_is_averaged():
    grads = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(combine(grads), grads.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("order", itertools.permutations(range(N)))
def test_every_order_equals_the_papers_loop(order):
    grads = np.array([[1.0, 0.5, 0.0], [-1.0, 0.3, 0.4], [-0.2, -1.0, 0.7]], np.float32)
    for task in range(N):
        got = projected(grads, task, jnp.array(order))
        np.testing.assert_allclose(got, surgery(grads, task, order), atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(numbers, st.permutations(range(N)))
def test_after_a_projection_there_is_no_conflict_with_that_task(grads, order):
    """With the last task in the order; earlier ones may conflict again."""
    lengths = np.linalg.norm(grads.astype(np.float64), axis=1)
    for task in range(N):
        got = np.asarray(projected(grads, task, jnp.array(order)), np.float64)
        last = next(other for other in reversed(order) if other != task)
        assert got @ grads[last] >= -1e-4 * max(lengths.max(), 1.0) ** 2
        # Nothing is added along the gradient itself.
        assert np.linalg.norm(got) <= lengths[task] * (1 + 1e-3) + 1e-3 * lengths.max()


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.float32, (1, P), elements=st.floats(-10, 10, width=32)))
def test_equal_gradients_stay_as_they_are(grad):
    # Below 1e-19 the squares are 0.
    np.testing.assert_allclose(combine(np.repeat(grad, N, axis=0)), grad[0], rtol=1e-5, atol=1e-18)


def test_a_task_without_a_gradient_has_no_say():
    grads = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])
    with_none = np.insert(grads, 1, 0.0, axis=0)
    np.testing.assert_allclose(combine(with_none), combine(grads), atol=1e-7)
    assert (combine(np.zeros((2, 3))) == 0).all()


def test_orders_are_fresh_for_each_task_and_step():
    grads = jnp.array([[1.0, 0.5, 0.0], [-1.0, 0.3, 0.4], [-0.2, -1.0, 0.7]])
    plain, orders = np.asarray(grads), list(itertools.permutations(range(N)))

    def mean(chosen):
        return np.mean([surgery(plain, task, order) for task, order in enumerate(chosen)], axis=0)

    ways = np.array([mean(chosen) for chosen in itertools.product(orders, repeat=N)])
    shared = np.array([mean([order] * N) for order in orders])
    state, alone, results = pcgrad().init(None), 0, set()
    for _ in range(30):
        update, state = step(grads, state)
        assert np.abs(ways - update).max(axis=1).min() < 1e-5
        alone += np.abs(shared - update).max(axis=1).min() > 1e-3
        results.add(tuple(np.round(np.asarray(update), 4)))
    assert len(results) > 3
    assert alone > 3  # ways in which the tasks' orders differ
    np.testing.assert_array_equal(combine(grads, seed=1), combine(grads, seed=1))


def test_by_name():
    assert list(COMBINERS) == ["mean", "pcgrad"]
    updates, _ = COMBINERS["mean"].update({"a": jnp.arange(6.0).reshape(3, 2)}, None)
    np.testing.assert_array_equal(updates["a"], [2.0, 3.0])
    assert COMBINERS.find("mean") is MEAN
