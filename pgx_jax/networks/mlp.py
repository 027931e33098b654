"""Multi-layer perceptrons for policies and values (Flax linen)."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax import Array


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Attributes:
        sizes: outputs of each linear layer; four entries make the paper's 4-layer network.
        final_scale: gain of the last layer's orthogonal initialisation.
        activation: between layers.
    """

    sizes: Sequence[int]
    final_scale: float = 1.0
    activation: Callable[[Array], Array] = jax.nn.tanh

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """float[..., inputs] -> float[..., sizes[-1]]."""
        hidden = inputs
        for index, size in enumerate(self.sizes):
            last = index == len(self.sizes) - 1
            gain = self.final_scale if last else float(np.sqrt(2))
            hidden = nn.Dense(size, kernel_init=nn.initializers.orthogonal(gain))(hidden)
            hidden = hidden if last else self.activation(hidden)
        return hidden
