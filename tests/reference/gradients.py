"""Projected gradients one by one: a Python loop and one dense matrix product in float64."""

import jax
import numpy as np
from jax.flatten_util import ravel_pytree


def gradient_matrix(log_prob, params, observation, action):
    """Gradients of every transition of [n, T] data as rows, float64[n, T, p]."""
    gradient = jax.jit(jax.grad(log_prob))
    leading = jax.tree.leaves(action)[0].shape[:2]
    rows = [
        [
            np.asarray(
                ravel_pytree(
                    gradient(
                        params,
                        jax.tree.map(lambda leaf: leaf[i, t], observation),  # noqa: B023
                        jax.tree.map(lambda leaf: leaf[i, t], action),  # noqa: B023
                    )
                )[0],
                np.float64,
            )
            for t in range(leading[1])
        ]
        for i in range(leading[0])
    ]
    return np.array(rows)


def dense_matrix(projection):
    """P as float64[p, d], without the padding of the last block."""
    rows = np.asarray(projection.matrix(), np.float64).reshape(-1, projection.dim)
    return rows[: projection.num_params]


def projected(log_prob, params, transitions, projection):
    """Features of valid transitions, 0 for the others; float64[n, T, d]."""
    gradients = gradient_matrix(log_prob, params, transitions.observation, transitions.action)
    features = gradients @ dense_matrix(projection)
    if transitions.mask is None:
        return features
    return features * np.asarray(transitions.mask)[..., None]
