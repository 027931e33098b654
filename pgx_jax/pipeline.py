"""From a policy and its transitions to groups of tasks, in one call."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from pgx_jax.estimation import (
    AffinityKind,
    estimate_affinity,
    fit_subsets,
    gradient_features,
    normalise_features,
    score_subsets,
    standardise_advantage,
    usual_affinity_rule,
    usual_design,
    validation,
)
from pgx_jax.estimation.designs.usual import AFFINITIES
from pgx_jax.estimation.projections.features import PROJECTIONS, Projection, ProjectionName
from pgx_jax.estimation.scores.scores import KINDS, Kind
from pgx_jax.grouping import cluster_tasks
from pgx_jax.types import Grouping, SubsetFits, Transitions


class GroupedTasks(NamedTuple):
    """What ``group_tasks`` found, and everything it was found from.

    Attributes:
        grouping: labels with their certificate.
        affinity: float[n, n].
        scores: float[m, n].
        subsets: bool[m, n].
        fits: the subset fits, on features scaled to unit mean square norm.
        projection: lifts ``fits.coef`` to parameters.
        feature_scale: what the features were divided by.
        affinity_kind: how the affinity was made: "additive" or "completed", unless another was
            asked for.
    """

    grouping: Grouping
    affinity: Array
    scores: Array
    subsets: Array
    fits: SubsetFits
    projection: Projection
    feature_scale: Array
    affinity_kind: AffinityKind


def group_tasks(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    *,
    num_groups: int | None = None,
    key: Array,
    rollout: Callable[[Any, Array, Array], Array] | None = None,
    kind: Kind | None = None,
    rho: float | None = 0.1,
    dim: int = 400,
    projection: ProjectionName = "gaussian",
    num_subsets: int | None = None,
    subset_size: int | None = None,
    affinity: AffinityKind | None = None,
    l2: float = 1e-2,
    max_groups: int | None = None,
    batch_size: int = 1024,
    rollout_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> GroupedTasks:
    """Which of the tasks should share a policy.

    Features, balanced subsets, fits, scores, affinity and clustering with their usual settings;
    for other settings call these functions themselves.

    Args:
        log_prob: ``log_prob(params, observation, action)`` -> real scalar, for one transition.
        params: parameters θ* of a policy trained on all tasks.
        transitions: leaves [n, T, ...] under θ*; advantages are standardised per task here.
        num_groups: k; None chooses it on held-out subsets.
        key: PRNG key.
        rollout: ``rollout(params, tasks, key)`` -> float[s], mean returns of the policy in the
            tasks int[s], traceable by JAX; see ``score_subsets``. Where an environment can be
            stepped, pass it: scores from data alone are much weaker on mildly conflicting tasks.
        kind: "rollout" (the default where ``rollout`` is given), "surrogate" (the default where
            it is not), "linearised" or "off_policy". The last three fit on one half of the
            transitions and score on the other.
        rho: relative parameter distance of the adapted policies, for "rollout" and "off_policy".
        dim: d.
        projection: "gaussian" (the paper's), "tensor_sketch" (as exact and many times faster
            where the policy is made of linear layers) or "rademacher" (random signs).
        num_subsets: m; None takes 2 n², at least 100, up to 20 tasks (all subsets where there
            are fewer); beyond, a design that holds every task about 32 times: 224 subsets for
            50 tasks, 1056 for 1000.
        subset_size: tasks in a subset; None takes 4 up to 20 tasks, or fewer where n < 8, and
            about √n beyond.
        affinity: how scores become an affinity: "additive" effects (the default up to 20 tasks),
            "completed" by low rank (the default beyond; see ``completed_affinity``), or the means
            "pair" and "subset" of ``task_affinity``. ``designs/usual.py`` has the reasons.
        l2: ridge penalty, for features of unit mean square norm.
        max_groups: largest k that the automatic choice considers.
        batch_size: transitions that pass through the policy at a time.
        rollout_batch_size: subsets that ``rollout`` is vmapped over at a time; None never vmaps.
        mesh: devices for features and fits, as ``gradient_features`` and ``fit_subsets`` take it.

    Returns:
        ``GroupedTasks``.

    Raises:
        ValueError: bad shapes, non-finite or all-zero advantages, k outside 1..n, a subset size
            outside 1..n, too few subsets for every pair or (below 4 tasks) for choosing k, an
            unknown kind, projection or affinity, scores that do not depend on the subset.
        TypeError: ``log_prob`` or ``rollout`` cannot be traced by JAX or returns something else,
            ``mesh`` is no mesh.

    Reference:
        PolicyGradEx (arXiv 2511.12779), algorithm 1.
    """
    transitions = validation.as_transitions(transitions)
    num_tasks = transitions.advantage.shape[0]
    if num_groups is not None and not (
        isinstance(num_groups, int | np.integer) and 1 <= num_groups <= num_tasks
    ):
        raise ValueError(
            f"num_groups is {num_groups}; it must be a whole number from 1 to n = {num_tasks}"
        )
    validation.check_key(key)
    validation.check_log_prob(log_prob, params, transitions)
    validation.check_batch_size(batch_size)
    if rollout_batch_size is not None:
        validation.check_batch_size(rollout_batch_size, "rollout_batch_size")
    validation.check_positive(l2=l2, **({} if rho is None else {"rho": rho}))
    kind = kind or ("surrogate" if rollout is None else "rollout")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    if projection not in PROJECTIONS:
        raise ValueError(
            f"projection is {projection!r}; it must be one of {', '.join(PROJECTIONS)}"
        )
    if kind == "rollout" and rollout is None:
        raise ValueError('kind="rollout" needs rollout; pass it, or take another kind')
    if affinity is not None and affinity not in AFFINITIES:
        raise ValueError(f"affinity is {affinity!r}; it must be one of {', '.join(AFFINITIES)}")
    affinity = affinity or usual_affinity_rule(num_tasks)
    design = usual_design(num_tasks, subset_size=subset_size, num_subsets=num_subsets)
    if kind == "rollout" and rollout is not None:
        validation.check_rollout(rollout, params, design.subset_size, key)
    if num_tasks == 1:
        num_groups = 1
    if num_groups is None and math.comb(num_tasks, design.subset_size) < 4:
        remedy = ", or another subset_size" if num_tasks > 3 else ""
        raise ValueError(
            f"{num_tasks} tasks have fewer than four subsets of {design.subset_size}, too few to "
            f"choose the number of groups on; give num_groups{remedy}"
        )
    projection_key, subset_key, split_key, rollout_key = jax.random.split(key, 4)
    subsets = design.draw(subset_key)

    advantage = standardise_advantage(transitions.advantage, transitions.mask)
    _check_varied(advantage)
    transitions = transitions._replace(advantage=advantage)
    drawn = PROJECTIONS[projection](projection_key, params, dim)
    features = gradient_features(
        log_prob, params, transitions, drawn, batch_size=batch_size, mesh=mesh
    )
    features, scale = normalise_features(features, transitions.mask)
    fit_mask, score_mask = transitions.mask, transitions.mask
    if kind != "rollout":
        fit_mask, score_mask = split_transitions(split_key, advantage, transitions.mask)
    fits = fit_subsets(features, advantage, subsets, l2=l2, mask=fit_mask, mesh=mesh)
    scores = score_subsets(
        fits,
        features,
        advantage,
        mask=score_mask,
        kind=kind,
        subsets=subsets,
        params=params,
        projection=drawn,
        rho=rho if kind in ("rollout", "off_policy") else None,
        log_prob=log_prob,
        transitions=transitions,
        rollout=rollout,
        key=rollout_key,
        batch_size=rollout_batch_size,
    )
    # Without a number of groups such scores give one group.
    if num_groups is not None and 1 < num_groups < num_tasks:
        _check_informative(scores, subsets)
    found = estimate_affinity(scores, subsets, affinity)
    grouping = cluster_tasks(
        found.affinity,
        num_groups,
        scores=scores,
        subsets=subsets,
        refit=found.refit,
        max_groups=max_groups,
    )
    return GroupedTasks(grouping, found.affinity, scores, subsets, fits, drawn, scale, affinity)


def _check_varied(advantage: Array) -> None:
    """Raise where standardising has left a task nothing."""
    if validation.is_concrete(advantage):
        constant = np.flatnonzero(~np.asarray(advantage != 0).any(axis=1))
        if constant.size:
            raise ValueError(
                f"the advantages of tasks {constant.tolist()} are the same for every transition, "
                "so no action is better than another; check the rewards and the advantage estimator"
            )


def _check_informative(scores: Array, subsets: Array) -> None:
    """Raise where no task's score depends on the subset."""
    if validation.is_concrete(scores):
        least = np.where(subsets, scores, np.inf).min(axis=0)
        most = np.where(subsets, scores, -np.inf).max(axis=0)
        if (most - least <= 1e-7 * np.maximum(np.abs(most), np.abs(least))).all():
            raise ValueError(
                "the score of every task is the same in all subsets that hold it, so nothing tells "
                "which tasks go together; check that rollout uses its params, raise rho, or take "
                "a subset_size below the number of tasks"
            )


def split_transitions(
    key: Array, advantage: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """Two random halves of every task's valid transitions, as masks.

    Args:
        key: PRNG key.
        advantage: float[n, T].
        mask: bool[n, T], the valid transitions.

    Returns:
        bool[n, T] twice; disjoint, and together the valid transitions. Of an odd number the
        first half gets one more.

    Raises:
        ValueError: a task has fewer than two valid transitions (outside ``jit``).
    """
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    if validation.is_concrete(valid) and int(valid.sum(axis=1).min()) < 2:
        raise ValueError(
            "a task has fewer than two valid transitions, so they cannot be split in halves to "
            "fit and to score on; collect more, or score by rollouts"
        )
    noise = jnp.where(valid, jax.random.uniform(key, valid.shape), jnp.inf)
    rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
    first = (rank < (valid.sum(axis=1, keepdims=True) + 1) // 2) & valid
    return first, valid & ~first
