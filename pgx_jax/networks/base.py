"""A network is a configuration; the Flax module comes from it and serves policies and critics."""

import math
from typing import Any, Protocol, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from pgx_jax.registry import Registry


class Network(Protocol):
    """A body without its head: frozen and hashable, so that ``jit`` can take it static.

    Its module is called as ``module(inputs, task)``, with inputs float[..., f] and the task
    float[..., t], or None where the task's identity is hidden, and returns
    float[..., num_outputs]. Networks that route by the task need the two apart.
    """

    def module(self, num_outputs: int, final_scale: float = 1.0) -> nn.Module:
        """The Flax module.

        Args:
            num_outputs: numbers that it returns.
            final_scale: gain of the last layer's initialisation.
        """
        ...

    def widened(self, factor: float) -> Self:
        """The same network with all widths times ``factor``, rounded; more parameters for more."""
        ...


NETWORKS: Registry[Network] = Registry("network")
"""Networks by name, each with its usual sizes."""


def count_parameters(params: Any) -> int:
    """p, number of parameters in a pytree."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))
