"""How well the policy adapted to a subset serves each task: f_i(S) at θ_S = θ* + P x_S.

Difference from the paper (PolicyGradEx, arXiv 2511.12779):

1. The paper leaves the policy evaluation algorithm open; here are four with one signature, and
   others can be registered.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import Array

from pgx_jax.estimation import validation
from pgx_jax.estimation.scores.adapted import Lift
from pgx_jax.estimation.scores.base import Score, ScoreInputs, ScoreOptions, make_score
from pgx_jax.estimation.scores.margins import linearised, surrogate, task_weight
from pgx_jax.estimation.scores.rollout import TracedRollouts, largest_subset
from pgx_jax.types import PolicyFunction, SubsetFits, Transitions

_OF_MARGINS = {"surrogate": surrogate, "linearised": linearised}


def score_subsets(
    fits: SubsetFits,
    features: Array,
    advantage: Array,
    *,
    mask: Array | None = None,
    kind: str | Score = "surrogate",
    subsets: Array | None = None,
    params: Any = None,
    projection: Lift | None = None,
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

    The first three should see transitions that the fits did not (pass the ``mask`` of these).
    Rollouts agree best with what training on the subset gives.

    Args:
        fits: from ``fit_subsets``, on these features.
        features: float[n, T, d].
        advantage: float[n, T], standardised per task.
        mask: bool[n, T], the transitions to score on.
        kind: one of the above, another name in ``SCORES``, or a ``Score``, which has ``rho``,
            ``max_ratio`` and ``rollout`` of its own.
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
    rollouts = None if rollout is None else TracedRollouts(rollout, batch_size)
    score = make_score(kind, ScoreOptions(rho, max_ratio, rollouts))
    validation.check_features(features, advantage, mask)
    if fits.coef.shape[-1] != features.shape[-1]:
        raise ValueError(
            f"fits.coef has {fits.coef.shape[-1]} columns and features {features.shape[-1]}; "
            "score the fits on the features they were made from"
        )
    if rho is not None:
        validation.check_positive(rho=rho)
    needs = getattr(score, "needs", ())
    given = {
        "params": params,
        "projection": projection,
        "log_prob": log_prob,
        "transitions": transitions,
        "rollout": getattr(score, "rollouts", None),
        "subsets": subsets,
        "key": key,
    }
    missing = ", ".join(name for name in needs if given[name] is None)
    if missing:
        raise ValueError(f'kind="{kind}" needs {missing}; pass them, or take another kind')
    policy = None if params is None else PolicyFunction(log_prob or _no_log_prob, params)
    inputs = ScoreInputs(
        fits, features, advantage, mask, subsets, policy, projection, transitions, key
    )
    if "transitions" in needs:
        inputs = inputs._replace(transitions=_checked_transitions(inputs))
    if "subsets" in needs:
        _check_fitted(inputs)
    if "key" in needs:
        validation.check_key(key)
    if "rollout" in needs and rollout is not None:
        if batch_size is not None:
            validation.check_batch_size(batch_size)
        validation.check_rollout(rollout, params, largest_subset(inputs.subsets), key)
    return score.score(inputs).values


def _no_log_prob(params: Any, observation: Any, action: Any) -> Any:
    raise ValueError("this score needs log_prob; pass it, or take another kind")


def _checked_transitions(inputs: ScoreInputs) -> Transitions:
    transitions = validation.parse_transitions(inputs.transitions)
    validation.check_log_prob(inputs.policy.log_prob, inputs.policy.params, transitions)
    if transitions.advantage.shape != inputs.advantage.shape:
        raise ValueError(
            f"transitions have leading axes {tuple(transitions.advantage.shape)} and advantage "
            f"{tuple(inputs.advantage.shape)}; both must be [num_tasks, num_steps] of the same data"
        )
    return transitions


def _check_fitted(inputs: ScoreInputs) -> None:
    validation.check_subsets(inputs.subsets, inputs.features.shape[0])
    num_fits, num_subsets = inputs.fits.coef.shape[0], inputs.subsets.shape[0]
    if num_fits != num_subsets:
        raise ValueError(
            f"fits holds {num_fits} subsets and subsets {num_subsets}; pass the "
            "subsets that the fits were made of"
        )


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
    if kind not in _OF_MARGINS:
        raise ValueError(f'kind is {kind!r}; margins give "surrogate" and "linearised" only')
    validation.check_advantage(advantage, mask)
    if tuple(margins.shape[1:]) != tuple(advantage.shape):
        raise ValueError(
            f"margins has shape {tuple(margins.shape)} and advantage {tuple(advantage.shape)}; "
            "expected [m, n, T] and [n, T]"
        )
    return jax.vmap(_OF_MARGINS[kind], (1, 0), 1)(margins, task_weight(advantage, mask))
