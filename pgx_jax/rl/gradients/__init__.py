"""How the gradients of several tasks become one: optax transformations over a leading axis."""

from pgx_jax.rl.gradients.base import COMBINERS, GradientCombiner
from pgx_jax.rl.gradients.mean import MEAN
from pgx_jax.rl.gradients.pcgrad import pcgrad

__all__ = ["COMBINERS", "MEAN", "GradientCombiner", "pcgrad"]
