"""Subset fits without a projection and without a Gram matrix: one JVP and one VJP a step.

    Kβ = J (Jᵀ β),   J = ∂ (log π of every transition) / ∂θ.

Neither J nor K is formed, so this goes where ``gradient_gram`` does not fit; it costs a forward and
a backward pass over the data of every subset at every step.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.exact import solve_in_span
from pgx_jax.estimation.fits.objective import FitSettings
from pgx_jax.estimation.projections.features import map_transitions
from pgx_jax.types import SubsetFits, Transitions


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
        lifted = lax.map(lambda one: self._lift(one, self.transitions), rows)
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

        def one(row: Array) -> Array:
            return self._product(self._lift(row, self.transitions), self.transitions)

        return lax.map(one, rows)

    def _check(self, coef: Array) -> None:
        if coef.shape[-1] != self.dim:
            raise ValueError(f"coef has shape {coef.shape}; its last axis must be {self.dim}")

    def _lift(self, coef: Array, transitions: Transitions) -> Any:
        """Σ_t coef_t g_t / scale over some transitions [k, T]."""
        coef = coef.astype(jnp.float32) / self.scale
        if transitions.mask is not None:
            coef = jnp.where(transitions.mask, coef, 0.0)
        num_tasks, num_steps = coef.shape
        total = num_tasks * num_steps
        batch_size = min(self.batch_size, total)
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(total, *leaf.shape[2:]),
            (transitions.observation, transitions.action, coef),
        )

        def add(sum_so_far: Any, batch: Array) -> tuple[Any, None]:
            place = batch * batch_size + jnp.arange(batch_size)
            index = jnp.minimum(place, total - 1)
            observation, action, own = jax.tree.map(lambda leaf: leaf[index], flat)
            own = jnp.where(place < total, own, 0.0)

            def weighted(params: Any) -> Array:
                values = jax.vmap(self.log_prob, (None, 0, 0))(params, observation, action)
                return (own * values.astype(jnp.float32)).sum()

            part = jax.grad(weighted)(self.params)
            return jax.tree.map(jnp.add, sum_so_far, part), None

        zeros = jax.tree.map(jnp.zeros_like, self.params)
        return lax.scan(add, zeros, jnp.arange(-(-total // batch_size)))[0]

    def _product(self, tangent: Any, transitions: Transitions) -> Array:
        """g_t·x / scale for some transitions [k, T], 0 where masked."""

        def batch(observation: Any, action: Any) -> Array:
            def values(params: Any) -> Array:
                return jax.vmap(self.log_prob, (None, 0, 0))(params, observation, action)

            return jax.jvp(values, (self.params,), (tangent,))[1].astype(jnp.float32)

        made = map_transitions(batch, transitions, self.batch_size) / self.scale
        return made if transitions.mask is None else jnp.where(transitions.mask, made, 0.0)


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
    transitions = validation.as_transitions(transitions)
    validation.check_log_prob(log_prob, params, transitions)
    if validation.is_concrete(scale):
        validation.check_positive(scale=float(scale))
    validation.check_batch_size(batch_size)
    if transitions.mask is not None:
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
    """
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

    made = map_transitions(squares, transitions, batch_size)
    mask = transitions.mask
    valid = jnp.ones(made.shape, bool) if mask is None else mask.astype(bool)
    scale = jnp.sqrt(jnp.where(valid, made, 0.0).sum() / jnp.maximum(valid.sum(), 1))
    return jnp.where(scale > 0, scale, 1.0)


def fit_subsets_matrix_free(
    span: GradientSpan,
    subsets: Array,
    *,
    l2: float = 1e-2,
    tol: float = 1e-6,
    max_steps: int = 200,
    history: int = 8,
) -> SubsetFits:
    """Minimise L_S over the whole parameter space for every subset, by gradient products alone.

    Args:
        span: from ``gradient_span``; its transitions hold advantages and mask.
        subsets: bool[m, n], membership.
        l2: ridge penalty > 0, for gradients divided by the span's scale.
        tol: relative objective gap, as in ``fit_subsets_exact``.
        max_steps: iterations at most.
        history: pairs kept by L-BFGS; each takes 16 m·n·T bytes.

    Returns:
        ``SubsetFits``, equal to those of ``fit_subsets_exact``.

    Raises:
        ValueError: a shape differs, a subset is empty, ``l2`` or ``tol`` is not positive.
        TypeError: ``subsets`` is not boolean.

    Reference:
        As ``fit_subsets_exact``.
    """
    num_tasks = span.transitions.advantage.shape[0]
    validation.check_subsets(subsets, num_tasks)
    validation.check_positive(l2=l2, tol=tol, max_steps=max_steps, history=history)
    size = num_tasks
    if validation.is_concrete(subsets):
        size = int(np.asarray(subsets).sum(axis=1).max())
    settings = FitSettings(l2, tol, max_steps, 0).as_arrays()
    return _fit_matrix_free(span, subsets, settings, size=size, history=history)


@partial(jax.jit, static_argnames=("size", "history"))
def _fit_matrix_free(
    span: GradientSpan, subsets: Array, settings: FitSettings, *, size: int, history: int
) -> SubsetFits:
    # Smaller subsets are filled up with tasks that are not members and have no coefficients.
    held, members = lax.top_k(subsets.astype(jnp.int8), size)

    def one_subset(item: tuple[Array, Array, Array]) -> Array:
        coef, tasks, member = item
        data = jax.tree.map(lambda leaf: leaf[tasks], span.transitions)
        products = span._product(span._lift(coef[tasks], data), data)
        return jnp.zeros_like(coef).at[tasks].set(jnp.where(member[:, None], products, 0.0))

    def apply(coef: Array) -> Array:
        return lax.map(one_subset, (coef, members, held > 0))

    advantage, mask = span.transitions.advantage, span.transitions.mask
    mask = jnp.ones(advantage.shape, bool) if mask is None else mask
    return solve_in_span(apply, advantage, mask, subsets, settings, history)


def _first_valid(transitions: Transitions) -> Transitions:
    """Masked transitions replaced by the first valid one of their task."""
    first = jnp.argmax(transitions.mask, axis=1)

    def replace(leaf: Array) -> Array:
        kept = transitions.mask.reshape(*transitions.mask.shape, *[1] * (leaf.ndim - 2))
        own = jax.vmap(lambda rows, index: rows[index])(leaf, first)
        return jnp.where(kept, leaf, own[:, None])

    observation, action = jax.tree.map(replace, (transitions.observation, transitions.action))
    return transitions._replace(observation=observation, action=action)
