"""How well the policy adapted to a subset serves each task: f_i(S) at θ_S = θ* + P x_S.

Differences from the paper (PolicyGradEx, arXiv 2511.12779):

1. The paper leaves the policy evaluation algorithm open; here are four with one signature.
2. θ_S can be brought to a given distance |θ_S - θ*| = ρ |θ*|, because the length of P x_S
   depends on l2 and on p/d, and the first-order estimate holds only near θ* (ρ of a few %).
3. Rollouts use the same random numbers for every subset, so that differences between subsets
   are not drowned by the luck of the initial states.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.projections.base import Projection
from pgx_jax.types import SubsetFits, Transitions

Kind = Literal["surrogate", "linearised", "off_policy", "rollout"]
KINDS = ("surrogate", "linearised", "off_policy", "rollout")


def score_subsets(
    fits: SubsetFits,
    features: Array,
    advantage: Array,
    *,
    mask: Array | None = None,
    kind: Kind = "surrogate",
    subsets: Array | None = None,
    params: Any = None,
    projection: Projection | None = None,
    rho: float | None = None,
    log_prob: Callable[[Any, Any, Any], Array] | None = None,
    transitions: Transitions | None = None,
    max_ratio: float = 10.0,
    rollout: Callable[[Any, Array, Array], Array] | None = None,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Array:
    """f_i(S) for every subset and task; higher is better.

    ===============  ==================================================  ====================
    kind             f_i(S)                                              needs besides
    ===============  ==================================================  ====================
    ``surrogate``    -(1/T) Σ_t w_t log(1 + exp(-y_t g̃_t·x_S))           nothing
    ``linearised``   (1/T) Σ_t A_t g̃_t·x_S                               nothing
    ``off_policy``   (1/T) Σ_t A_t min(π_θS(a|s)/π_θ*(a|s), max_ratio)   params, projection,
                                                                         log_prob, transitions
    ``rollout``      return of θ_S in task i, from the caller            params, projection,
                                                                         rollout, subsets, key
    ===============  ==================================================  ====================

    The first three should see transitions that the fits did not (pass a held-out ``mask``).
    Rollouts agree best with what training on the subset gives.

    Args:
        fits: from ``fit_subsets``, on these features.
        features: float[n, T, d].
        advantage: float[n, T], standardised per task.
        mask: bool[n, T], the transitions to score on.
        kind: which score.
        subsets: bool[m, n], for ``rollout``, which is made for members only.
        params: θ*.
        projection: the one that made the features; where these were divided by a scale since,
            pass ``rho``, which does not depend on it.
        rho: distance |θ_S - θ*| / |θ*|, e.g. 0.02; None takes P x_S as it is. Used by
            ``off_policy`` and ``rollout``.
        log_prob: as in ``gradient_features``.
        transitions: ``Transitions`` with leaves [n, T, ...], for ``off_policy``.
        max_ratio: importance ratios are clipped here.
        rollout: ``rollout(params, tasks, key)`` -> float[s], mean return in each of the tasks
            int[s]. It gets the same key for every subset; draw a task's random numbers from
            the key and the task alone. It must be traceable by JAX.
        key: PRNG key for ``rollout``.
        batch_size: subsets that ``rollout`` is vmapped over at a time; None takes them one by
            one and never vmaps it.

    Returns:
        float[m, n]; for ``rollout``, NaN where the task is not in the subset.

    Raises:
        ValueError: an unknown kind, a missing argument, mismatched shapes.
        TypeError: ``log_prob`` or ``rollout`` cannot be traced by JAX or returns something else.

    Reference:
        PolicyGradEx (arXiv 2511.12779), section 3, "policy evaluation".
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    validation.check_features(features, advantage, mask)
    if fits.coef.shape[-1] != features.shape[-1]:
        raise ValueError(
            f"fits.coef has {fits.coef.shape[-1]} columns and features {features.shape[-1]}; "
            "score the fits on the features they were made from"
        )
    if rho is not None:
        validation.check_positive(rho=rho)
    if kind in ("surrogate", "linearised"):
        return _score_features(fits.coef, features, advantage, mask, kind=kind)
    if kind == "off_policy":
        _require(kind, params=params, projection=projection, log_prob=log_prob, data=transitions)
        assert transitions is not None
        assert log_prob is not None
        transitions = validation.parse_transitions(transitions)
        validation.check_log_prob(log_prob, params, transitions)
        if transitions.advantage.shape != advantage.shape:
            raise ValueError(
                f"transitions have leading axes {tuple(transitions.advantage.shape)} and advantage "
                f"{tuple(advantage.shape)}; both must be [num_tasks, num_steps] of the same data"
            )
        return _score_off_policy(
            fits.coef, params, projection, rho, transitions, advantage, mask, max_ratio,
            log_prob=log_prob,
        )  # fmt: skip
    _require(kind, params=params, projection=projection, rollout=rollout, subsets=subsets, key=key)
    assert subsets is not None
    assert projection is not None
    assert rollout is not None
    assert key is not None
    validation.check_subsets(subsets, features.shape[0])
    if fits.coef.shape[0] != subsets.shape[0]:
        raise ValueError(
            f"fits holds {fits.coef.shape[0]} subsets and subsets {subsets.shape[0]}; pass the "
            "subsets that the fits were made of"
        )
    validation.check_key(key)
    if batch_size is not None:
        validation.check_batch_size(batch_size)
    validation.check_rollout(rollout, params, _largest(subsets), key)
    returns, members = rollout_subsets(
        rollout, fits, params, projection, subsets, key, rho=rho, batch_size=batch_size
    )
    return scatter_scores(returns, members, subsets)


def rollout_subsets(
    rollout: Callable[[Any, Array, Array], Any],
    fits: SubsetFits,
    params: Any,
    projection: Projection,
    subsets: Array,
    key: Array,
    *,
    rho: float | None = None,
    batch_size: int | None = None,
) -> tuple[Any, Array]:
    """Whatever ``rollout`` returns for θ_S and the members of S, for every subset.

    Args:
        rollout: ``rollout(params, tasks, key)`` -> pytree; the same function object on a second
            call does not recompile.
        fits: from ``fit_subsets``.
        params: θ*.
        projection: the one that made the features.
        subsets: bool[m, n].
        key: PRNG key, the same for every subset.
        rho: relative parameter distance; None takes P x_S as it is.
        batch_size: subsets that ``rollout`` is vmapped over at a time; None never vmaps it.

    Returns:
        The results, leaves leading with m, and the tasks int[m, s] that they are for, s the
        largest subset size; smaller subsets are filled up with tasks that are not members.
    """
    return _rollout_subsets(
        fits.coef, params, projection, rho, subsets, key,
        rollout=rollout, subset_size=_largest(subsets), batch_size=batch_size,
    )  # fmt: skip


def _largest(subsets: Array) -> int:
    """Tasks in the largest subset; all of them where that is not known."""
    known = validation.is_concrete(subsets)
    return int(np.asarray(subsets).sum(axis=1).max()) if known else subsets.shape[1]


def scatter_scores(returns: Array, members: Array, subsets: Array) -> Array:
    """Returns float[m, s] of the tasks int[m, s] as float[m, n], NaN outside the subset."""
    rows = jnp.arange(subsets.shape[0])[:, None]
    scores = jnp.full(subsets.shape, jnp.nan, returns.dtype).at[rows, members].set(returns)
    return jnp.where(subsets, scores, jnp.nan)


def perturbed_params(
    params: Any, projection: Projection, coef: Array, rho: Array | float | None = None
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
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf).real for leaf in jax.tree.leaves(tree)))


def _require(kind: str, **arguments: Any) -> None:
    missing = [name for name, value in arguments.items() if value is None]
    if missing:
        named = ", ".join("transitions" if name == "data" else name for name in missing)
        raise ValueError(f'kind="{kind}" needs {named}; pass them, or take another kind')


def _task_mean(values: Array, mask: Array | None) -> Array:
    """Mean over the last axis of float[n, T], counting valid transitions only."""
    if mask is None:
        return values.mean(axis=-1)
    valid = mask.astype(bool)
    return jnp.where(valid, values, 0.0).sum(axis=-1) / jnp.maximum(valid.sum(axis=-1), 1)


def score_margins(
    margins: Array,
    advantage: Array,
    *,
    mask: Array | None = None,
    kind: Literal["surrogate", "linearised"] = "surrogate",
) -> Array:
    """f_i(S) from products g_t·x_S that are already known, as ``GradientSpan.margins`` gives them.

    Args:
        margins: float[m, n, T].
        advantage: float[n, T].
        mask: bool[n, T], the transitions to score on.
        kind: "surrogate" or "linearised", as in ``score_subsets``.

    Returns:
        float[m, n].

    Raises:
        ValueError: another kind, mismatched shapes.
    """
    if kind not in ("surrogate", "linearised"):
        raise ValueError(f'kind is {kind!r}; margins give "surrogate" and "linearised" only')
    validation.check_advantage(advantage, mask)
    if tuple(margins.shape[1:]) != tuple(advantage.shape):
        raise ValueError(
            f"margins has shape {tuple(margins.shape)} and advantage {tuple(advantage.shape)}; "
            "expected [m, n, T] and [n, T]"
        )
    return jax.vmap(partial(_score_task, kind=kind), (1, 0), 1)(
        margins, _task_weight(advantage, mask)
    )


def _task_weight(advantage: Array, mask: Array | None) -> Array:
    """Advantages divided by their number in the task, 0 where masked."""
    count = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    return jnp.where(count, advantage, 0.0) / jnp.maximum(count.sum(axis=1, keepdims=True), 1)


def _score_task(margins: Array, weight: Array, *, kind: str) -> Array:
    """Scores of one task under m subsets from margins [m, T]."""
    if kind == "linearised":
        return margins @ weight
    return -jax.nn.softplus(-jnp.sign(weight)[None] * margins) @ jnp.abs(weight)


@partial(jax.jit, static_argnames=("kind",))
def _score_features(
    coef: Array, features: Array, advantage: Array, mask: Array | None, *, kind: str
) -> Array:
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)

    def one_task(task: tuple[Array, Array, Array]) -> Array:
        task_features, task_valid, task_weight = task
        clean = jnp.where(task_valid[:, None], task_features, 0.0)
        margins = jnp.matmul(coef, clean.T, precision=lax.Precision.HIGHEST)
        return _score_task(margins, task_weight, kind=kind)

    return lax.map(one_task, (features, valid, _task_weight(advantage, mask))).T


@partial(jax.jit, static_argnames=("log_prob",))
def _score_off_policy(
    coef: Array,
    params: Any,
    projection: Any,
    rho: Array | None,
    transitions: Transitions,
    advantage: Array,
    mask: Array | None,
    max_ratio: Array,
    *,
    log_prob: Callable,
) -> Array:
    per_transition = jax.vmap(jax.vmap(log_prob, (None, 0, 0)), (None, 0, 0))
    data = (transitions.observation, transitions.action)
    before = per_transition(params, *data)

    def one_subset(subset_coef: Array) -> Array:
        after = per_transition(perturbed_params(params, projection, subset_coef, rho), *data)
        ratio = jnp.minimum(jnp.exp(jnp.minimum(after - before, 50.0)), max_ratio)
        return _task_mean(advantage * ratio, mask)

    return lax.map(one_subset, coef)


@partial(jax.jit, static_argnames=("rollout", "subset_size", "batch_size"))
def _rollout_subsets(
    coef: Array,
    params: Any,
    projection: Projection,
    rho: Array | float | None,
    subsets: Array,
    key: Array,
    *,
    rollout: Callable,
    subset_size: int,
    batch_size: int | None,
) -> tuple[Any, Array]:
    _, members = lax.top_k(subsets.astype(jnp.int8), subset_size)

    def one_subset(item: tuple[Array, Array]) -> Any:
        subset_coef, tasks = item
        return rollout(perturbed_params(params, projection, subset_coef, rho), tasks, key)

    return lax.map(one_subset, (coef, members), batch_size=batch_size), members
