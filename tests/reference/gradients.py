"""Projected gradients one by one: a Python loop and one dense matrix product in float64."""

from functools import cache

import jax
import numpy as np


@cache
def _gradient(log_prob):
    return jax.jit(jax.grad(log_prob))


def gradient_matrix(log_prob, params, observation, action):
    """Gradients of every transition of [n, T] data as rows, float64[n, T, p]."""
    observation, action = jax.tree.map(np.asarray, (observation, action))
    num_tasks, num_steps = jax.tree.leaves(action)[0].shape[:2]

    def one(task, step):
        case = jax.tree.map(lambda leaf: leaf[task, step], (observation, action))
        leaves = jax.tree.leaves(_gradient(log_prob)(params, *case))
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])

    return np.array([[one(i, t) for t in range(num_steps)] for i in range(num_tasks)])


def dense_matrix(projection):
    """P as float64[p, d]."""
    return np.asarray(projection.matrix(), np.float64)


def projected(log_prob, params, transitions, projection):
    """Features of valid transitions, 0 for the others; float64[n, T, d]."""
    gradients = gradient_matrix(log_prob, params, transitions.observation, transitions.action)
    features = gradients @ dense_matrix(projection)
    if transitions.mask is None:
        return features
    return features * np.asarray(transitions.mask)[..., None]
