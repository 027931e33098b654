"""From a policy and its transitions to groups of tasks, in one call."""

import math
from collections.abc import Callable
from typing import Any

from jax import Array
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.affinity.rules import AFFINITY_RULES
from pgx_jax.estimation.designs.usual import usual_design
from pgx_jax.estimation.devices import check_mesh
from pgx_jax.estimation.inputs import parse_group_inputs
from pgx_jax.estimation.projections.base import PROJECTIONS
from pgx_jax.estimation.scores.base import SCORES, ScoreOptions, make_score
from pgx_jax.estimation.scores.rollout import TracedRollouts
from pgx_jax.grouping.selection import check_max_groups
from pgx_jax.pipeline.core import Estimate, estimate
from pgx_jax.pipeline.steps import Execution
from pgx_jax.registry import Registry
from pgx_jax.settings import (
    AffinitySettings,
    DesignSettings,
    EstimationSettings,
    FitSettings,
    GroupingSettings,
    ProjectionSettings,
    ScoreSettings,
)
from pgx_jax.types import Transitions

GroupedTasks = Estimate


def group_tasks(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    *,
    num_groups: int | None = None,
    key: Array,
    rollout: Callable[[Any, Array, Array], Array] | None = None,
    kind: str | None = None,
    rho: float | None = 0.1,
    dim: int = 400,
    projection: str = "gaussian",
    num_subsets: int | None = None,
    subset_size: int | None = None,
    affinity: str | None = None,
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
        num_groups: k; None chooses it on validation subsets.
        key: PRNG key.
        rollout: ``rollout(params, tasks, key)`` -> float[s], mean returns of the policy in the
            tasks int[s], traceable by JAX; see ``score_subsets``. Where an environment can be
            stepped, pass it: scores from data alone are much weaker on mildly conflicting tasks.
        kind: the score: "rollout" (the default where ``rollout`` is given), "surrogate" (the
            default where it is not), "linearised", "off_policy", or one that was registered in
            ``SCORES``. Scores from data fit on one half of the transitions and score on the other.
        rho: relative parameter distance of the adapted policies, for "rollout" and "off_policy".
        dim: d.
        projection: "gaussian" (the paper's), "tensor_sketch" (as exact and many times faster
            where the policy is made of linear layers), "rademacher" (random signs), or one that
            was registered in ``PROJECTIONS``.
        num_subsets: m; None takes 2 n², at least 100, up to 20 tasks (all subsets where there
            are fewer); beyond, a design that holds every task about 32 times: 224 subsets for
            50 tasks, 1056 for 1000.
        subset_size: tasks in a subset; None takes 4 up to 20 tasks, or fewer where n < 8, and
            about √n beyond.
        affinity: how scores become an affinity: "additive" effects (the default up to 20 tasks),
            "completed" by low rank (the default beyond; see ``completed_affinity``), the means
            "pair" and "subset" of ``task_affinity``, or a rule registered in ``AFFINITY_RULES``.
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
    kind = kind or ("surrogate" if rollout is None else "rollout")
    for name, choice, registry in (
        ("kind", kind, SCORES),
        ("projection", projection, PROJECTIONS),
        ("affinity", affinity, AFFINITY_RULES),
    ):
        _check_choice(name, choice, registry)
    if kind == "rollout" and rollout is None:
        raise ValueError('kind="rollout" needs rollout; pass it, or take another kind')
    check_mesh(mesh)
    rollouts = None if rollout is None else TracedRollouts(rollout, rollout_batch_size)
    score = make_score(kind, ScoreOptions(rho, rollouts=rollouts))
    policy, parsed = parse_group_inputs(
        log_prob,
        params,
        transitions,
        num_groups=num_groups,
        key=key,
        batch_size=batch_size,
        rollout_batch_size=rollout_batch_size,
        l2=l2,
        rho=rho,
        splits_transitions=score.splits_transitions,
    )
    num_tasks = parsed.advantage.shape[0]
    design = usual_design(num_tasks, subset_size=subset_size, num_subsets=num_subsets)
    if rollout is not None and kind == "rollout":
        validation.check_rollout(rollout, params, design.subset_size, key)
    if num_groups is None:
        check_automatic(num_tasks, design.subset_size)
        check_max_groups(max_groups, num_tasks)
    return estimate(
        policy,
        parsed,
        EstimationSettings(
            ProjectionSettings(projection, dim),
            DesignSettings(num_subsets, subset_size),
            FitSettings(l2),
            ScoreSettings(kind, rho),
            AffinitySettings(affinity),
            GroupingSettings(num_groups, max_groups),
        ),
        key,
        rollouts=rollouts,
        execution=Execution(batch_size, mesh),
    )


def check_automatic(num_tasks: int, subset_size: int) -> None:
    """Raise ValueError where there are too few subsets to choose the number of groups on."""
    if num_tasks > 1 and math.comb(num_tasks, subset_size) < 4:
        remedy = ", or another subset_size" if num_tasks > 3 else ""
        raise ValueError(
            f"{num_tasks} tasks have fewer than four subsets of {subset_size}, too few to "
            f"choose the number of groups on; give num_groups{remedy}"
        )


def _check_choice(argument: str, choice: Any, registry: Registry) -> None:
    if isinstance(choice, str) and choice not in registry and ":" not in choice:
        raise ValueError(f"{argument} is {choice!r}; it must be one of {', '.join(registry)}")
