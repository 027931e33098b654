"""Multi-layer perceptrons; the task, where it is visible, is appended to the inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.networks.base import NETWORKS


@dataclass(frozen=True)
class MLP:
    """Linear layers with tanh between them.

    Attributes:
        hidden_sizes: outputs of all linear layers but the last; three make the paper's 4 layers.
    """

    hidden_sizes: tuple[int, ...] = (64, 64, 64)

    def module(self, num_outputs: int, final_scale: float = 1.0) -> "MLPModule":
        """The Flax module; ``final_scale`` is the gain of the last layer's initialisation."""
        return MLPModule((*self.hidden_sizes, num_outputs), final_scale)

    def widened(self, factor: float) -> "MLP":
        """First width times ``factor``, rounded, at least 1; the others in proportion to it."""
        if not self.hidden_sizes:
            return self
        first = self.hidden_sizes[0]
        width = max(1, round(first * factor))
        return MLP(tuple(max(1, round(size * width / first)) for size in self.hidden_sizes))


class MLPModule(nn.Module):
    """The layers.

    Attributes:
        sizes: outputs of each linear layer.
        final_scale: gain of the last layer's orthogonal initialisation.
        activation: between layers.
    """

    sizes: Sequence[int]
    final_scale: float = 1.0
    activation: Callable[[Array], Array] = jax.nn.tanh

    @nn.compact
    def __call__(self, inputs: Array, task: Array | None = None) -> Array:
        """float[..., f] and float[..., t] or None -> float[..., sizes[-1]]."""
        hidden = inputs if task is None else jnp.concatenate([inputs, task], axis=-1)
        for index, size in enumerate(self.sizes):
            last = index == len(self.sizes) - 1
            gain = self.final_scale if last else float(np.sqrt(2))
            hidden = nn.Dense(size, kernel_init=nn.initializers.orthogonal(gain))(hidden)
            hidden = hidden if last else self.activation(hidden)
        return hidden


NETWORKS.register("mlp", MLP())
