"""What several networks are tried on."""

import jax
import jax.numpy as jnp
import numpy as np

SHAPE, BATCH = (2, 3), 5


def some_observations():
    return jax.random.normal(jax.random.key(1), (BATCH, *SHAPE))


def random_params(network, seed):
    """Normal parameters: fresh ones have no preferences."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.float32(0.5 * rng.normal(size=leaf.shape)), shapes)
