"""The policies adapted to the subsets, made when they are asked for: θ_S = θ* + P x_S.

Difference from the paper (PolicyGradEx, arXiv 2511.12779):

1. θ_S can be brought to a given distance |θ_S - θ*| = ρ |θ*|, because the length of P x_S
   depends on l2 and on p/d, and the first-order estimate holds only near θ* (ρ of a few %).
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array


class Lift(Protocol):
    """What turns coefficients into a step in the parameters: a projection, a ``GradientSpan``."""

    def lift(self, coef: Array) -> Any:
        """P x as a pytree like the parameters."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdaptedPolicies:
    """Parameters θ_S of m policies, of which only those asked for are ever held.

    Attributes:
        params: θ*, a pytree.
        projection: gives P.
        coef: float[m, d], x_S.
        rho: relative distance |θ_S - θ*| / |θ*|; None takes P x_S as it is.
        kind: type of the projection. JAX 0.10 takes registered dataclasses of equal fields for one
            another, whatever their class, and with them their compiled programs: this differs.
    """

    params: Any
    projection: Lift
    coef: Array
    rho: Array | float | None = None
    kind: type | None = field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        """Note the type of the projection."""
        if self.kind is None:
            object.__setattr__(self, "kind", type(self.projection))

    def one(self, row: Array | int) -> Any:
        """θ_S of one subset, by its row."""
        return perturbed_params(self.params, self.projection, self.coef[row], self.rho)

    @jax.jit
    def rows(self, rows: Array) -> Any:
        """θ_S of some subsets, side by side.

        Args:
            rows: int[r].

        Returns:
            A pytree like ``params``, leaves leading with r.
        """
        return jax.vmap(self.one)(rows)


def perturbed_params(
    params: Any, projection: Lift, coef: Array, rho: Array | float | None = None
) -> Any:
    """θ* + P x, or the point in that direction at distance ρ |θ*|.

    Args:
        params: θ*, a pytree.
        projection: gives P.
        coef: float[d], x.
        rho: relative distance |θ - θ*| / |θ*|; None takes P x as it is.

    Returns:
        A pytree like ``params``; θ* itself where x = 0.
    """
    move = projection.lift(coef)
    length = 1.0 if rho is None else rho * _norm(params) / jnp.maximum(_norm(move), 1e-30)
    return jax.tree.map(lambda leaf, step: leaf + (length * step).astype(leaf.dtype), params, move)


def _norm(tree: Any) -> Array:
    """Euclidean norm, in float32 or wider: squares of float16 overflow."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in leaves]
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf).real for leaf in wide))
