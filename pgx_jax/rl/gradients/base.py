"""What a gradient combiner is, and the combiners by name."""

import optax

from pgx_jax.registry import Registry

GradientCombiner = optax.GradientTransformation
"""Is handed updates whose leaves lead with the tasks, and returns them without that axis.

It comes first in an ``optax.chain``. A task without a sample has the gradient 0.
"""

COMBINERS: Registry[GradientCombiner] = Registry("gradient combiner")
"""Combiners by name."""
