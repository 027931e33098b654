"""The mean of the tasks' gradients, which is what training on all their samples follows."""

import jax
import optax

from pgx_jax.rl.gradients.base import COMBINERS

MEAN = COMBINERS.register(
    "mean",
    optax.stateless(lambda updates, _: jax.tree.map(lambda leaf: leaf.mean(axis=0), updates)),
)
"""An algorithm set to this one takes the gradient of its loss over all samples instead.

That is the mean in which a task weighs as many samples as it has, from one backward pass.
"""
