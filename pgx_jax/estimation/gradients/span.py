"""The span of all gradients as a basis that is never formed, by products with its Jacobian.

    x = Jᵀβ / scale,   margins = J x / scale,   J = ∂ (log π of every transition) / ∂θ.

A lift is one VJP over the data, margins are one JVP.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.gradients.batches import flat_transitions, map_transitions
from pgx_jax.types import Transitions


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GradientSpan:
    """The gradients g_t / scale of all transitions as a basis, never formed.

    Coefficients of ``fit_subsets_exact`` and ``fit_subsets_matrix_free`` refer to it. It can take
    the place of a projection in ``perturbed_params`` and ``score_subsets``.

    Attributes:
        params: θ*.
        transitions: leaves lead with [n, T].
        scale: what gradients are divided by.
        log_prob: as in ``gradient_features``.
        batch_size: transitions that are worked on at a time.
    """

    params: Any
    transitions: Transitions
    scale: Array
    log_prob: Callable = field(metadata={"static": True})
    batch_size: int = field(metadata={"static": True})

    @property
    def dim(self) -> int:
        """N = n·T, the number of coefficients."""
        return self.transitions.advantage.size

    @jax.jit
    def lift(self, coef: Array) -> Any:
        """Σ_t coef_t g_t / scale.

        Args:
            coef: float[..., n·T].

        Returns:
            A pytree like the parameters; every leaf leads with the axes of ``coef`` before n·T.

        Raises:
            ValueError: the last axis is not n·T.
        """
        self._check(coef)
        rows = coef.reshape(-1, *self.transitions.advantage.shape)
        lifted = lax.map(lambda row: self.lift_from(row, self.transitions), rows)
        return jax.tree.map(lambda leaf: leaf.reshape(*coef.shape[:-1], *leaf.shape[1:]), lifted)

    @jax.jit
    def margins(self, coef: Array) -> Array:
        """g_t·x / scale of all transitions at x = ``lift(coef)``.

        Args:
            coef: float[m, n·T].

        Returns:
            float32[m, n, T].

        Raises:
            ValueError: the last axis is not n·T.
        """
        self._check(coef)
        rows = coef.reshape(-1, *self.transitions.advantage.shape)

        def one_row(row: Array) -> Array:
            return self.margins_at(self.lift_from(row, self.transitions), self.transitions)

        return lax.map(one_row, rows)

    def _check(self, coef: Array) -> None:
        if coef.shape[-1] != self.dim:
            raise ValueError(f"coef has shape {coef.shape}; its last axis must be {self.dim}")

    def lift_from(self, coef: Array, transitions: Transitions) -> Any:
        """Σ_t coef_t g_t / scale over some transitions, [k, T] as the coefficients are."""
        coef = jnp.where(transitions.mask, coef.astype(jnp.float32) / self.scale, 0.0)
        data, weights = flat_transitions(transitions), coef.ravel()
        total = weights.size
        batch_size = min(self.batch_size, total)

        def add(sum_so_far: Any, batch: Array) -> tuple[Any, None]:
            place = batch * batch_size + jnp.arange(batch_size)
            index = jnp.minimum(place, total - 1)
            observation, action = jax.tree.map(lambda leaf: leaf[index], data)
            weight = jnp.where(place < total, weights[index], 0.0)

            def weighted(params: Any) -> Array:
                values = jax.vmap(self.log_prob, (None, 0, 0))(params, observation, action)
                return (weight * values.astype(jnp.float32)).sum()

            part = jax.grad(weighted)(self.params)
            return jax.tree.map(jnp.add, sum_so_far, part), None

        zeros = jax.tree.map(jnp.zeros_like, self.params)
        return lax.scan(add, zeros, jnp.arange(-(-total // batch_size)))[0]

    def margins_at(self, tangent: Any, transitions: Transitions) -> Array:
        """g_t·x / scale of some transitions [k, T] for x in parameters, 0 where masked."""

        def batch(observation: Any, action: Any) -> Array:
            def values(params: Any) -> Array:
                return jax.vmap(self.log_prob, (None, 0, 0))(params, observation, action)

            return jax.jvp(values, (self.params,), (tangent,))[1].astype(jnp.float32)

        flat = map_transitions(batch, flat_transitions(transitions), self.batch_size)
        margins = flat.reshape(transitions.mask.shape) / self.scale
        return jnp.where(transitions.mask, margins, 0.0)


def gradient_span(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    *,
    scale: Array | float = 1.0,
    batch_size: int = 1024,
) -> GradientSpan:
    """The span of all gradients, for lifting coefficients of unprojected fits.

    Args:
        log_prob: as in ``gradient_features``.
        params: pytree of parameters θ*.
        transitions: leaves lead with [n, T]; masked transitions take no part. Advantages as they
            are to be fitted: standardised, as ``standardise_advantage`` does it.
        scale: what gradients are divided by, from ``gradient_scale`` or ``normalise_gram``.
        batch_size: transitions that are worked on at a time.

    Returns:
        A ``GradientSpan`` with ``.lift(coef)`` and ``.margins(coef)``.

    Raises:
        ValueError: as ``gradient_features``.
        TypeError: as ``gradient_features``.
    """
    _, transitions = validation.parse_policy_data(log_prob, params, transitions, batch_size)
    if validation.is_concrete(scale):
        validation.check_positive(scale=float(scale))
    # So that a masked transition with a gradient that is not finite does no harm.
    transitions = _first_valid(transitions)
    return GradientSpan(params, transitions, jnp.asarray(scale, jnp.float32), log_prob, batch_size)


def gradient_scale(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    *,
    batch_size: int = 1024,
) -> Array:
    """Root mean square norm of the gradients, the scale that gives ``l2`` one meaning.

    Args:
        log_prob: as in ``gradient_features``.
        params: pytree of parameters θ*.
        transitions: leaves lead with [n, T].
        batch_size: transitions whose gradients are held at a time.

    Returns:
        float32 scalar; 1 where all gradients are zero.

    Raises:
        ValueError: as ``gradient_features``.
        TypeError: as ``gradient_features``.
    """
    _, transitions = validation.parse_policy_data(log_prob, params, transitions, batch_size)
    return _gradient_scale(log_prob, params, transitions, batch_size=batch_size)


@partial(jax.jit, static_argnames=("log_prob", "batch_size"))
def _gradient_scale(
    log_prob: Callable, params: Any, transitions: Transitions, *, batch_size: int
) -> Array:
    def squares(observation: Any, action: Any) -> Array:
        gradients = jax.vmap(jax.grad(log_prob), (None, 0, 0))(params, observation, action)
        flat = [
            leaf.astype(jnp.float32).reshape(leaf.shape[0], -1)
            for leaf in jax.tree.leaves(gradients)
        ]
        return jnp.stack([(leaf**2).sum(axis=1) for leaf in flat]).sum(axis=0)

    valid = transitions.mask
    flat = map_transitions(squares, flat_transitions(transitions), batch_size)
    square = jnp.where(valid, flat.reshape(valid.shape), 0.0).sum()
    scale = jnp.sqrt(square / jnp.maximum(valid.sum(), 1))
    return jnp.where(scale > 0, scale, 1.0)


def _first_valid(transitions: Transitions) -> Transitions:
    """Masked transitions replaced by the first valid one of their task."""
    mask = transitions.mask
    first = jnp.argmax(mask, axis=1)

    def replace(leaf: Array) -> Array:
        valid = mask.reshape(*mask.shape, *[1] * (leaf.ndim - 2))
        return jnp.where(
            valid, leaf, jax.vmap(lambda rows, index: rows[index])(leaf, first)[:, None]
        )

    observation, action = jax.tree.map(replace, (transitions.observation, transitions.action))
    return transitions._replace(observation=observation, action=action)
