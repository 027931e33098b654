"""Features, subsets, fits, scores, affinity, grouping: the estimation, written once."""

from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation import validation
from pgx_jax.estimation.affinity.rules import AFFINITY_RULES, AffinityRule, usual_affinity_rule
from pgx_jax.estimation.designs.usual import usual_design
from pgx_jax.estimation.gradients.advantage import standardise_advantage
from pgx_jax.estimation.projections.base import PROJECTIONS, Projection
from pgx_jax.estimation.scores.base import Rollouts, Score, ScoreOptions, make_score
from pgx_jax.grouping.objectives import OBJECTIVES
from pgx_jax.pipeline.stages import Outcome, RunStage, run_now, stage_key
from pgx_jax.pipeline.steps import (
    Execution,
    Features,
    HalvedFit,
    HalvedScore,
    Seeded,
    SeededGrouping,
    cluster,
    draw_subsets,
    fit,
    make_features,
    score,
    stored_grouping,
)
from pgx_jax.settings import DesignSettings, EstimationSettings, GroupingSettings
from pgx_jax.types import Grouping, PolicyFunction, SubsetFits, Transitions


class Estimate(NamedTuple):
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
    affinity_kind: str


def estimate(
    policy: PolicyFunction,
    transitions: Transitions,
    settings: EstimationSettings,
    key: Array,
    *,
    stage: RunStage = run_now,
    rollouts: Rollouts | None = None,
    execution: Execution | None = None,
) -> Estimate:
    """Features, subsets, fits, scores, affinity, grouping.

    Args:
        policy: log-probability and parameters θ* of a policy trained on all tasks.
        transitions: from ``standardised_transitions``.
        settings: what to choose at every stage; checked.
        key: PRNG key.
        stage: how a stage is run.
        rollouts: steps adapted policies in the environment, for the score "rollout".
        execution: how the work is cut.

    Returns:
        ``Estimate``.

    Raises:
        ValueError: scores that do not depend on the subset, and as the stages' functions.

    Reference:
        PolicyGradEx (arXiv 2511.12779), algorithm 1.
    """
    num_tasks, execution = transitions.advantage.shape[0], execution or Execution()
    choices = _choices(settings, num_tasks, rollouts)
    keys = {name: stage_key(key, name) for name in ("projection", "subsets", "split", "scores")}
    make_projection = PROJECTIONS.find(settings.projection.projection)
    projection = make_projection(keys["projection"], policy.params, settings.projection.dim)
    split_key = keys["split"] if choices.score.splits_transitions else None
    subsets = subsets_stage(stage, settings.design, num_tasks, keys["subsets"])
    data = {"transitions": transitions}
    features = stage(
        "features",
        # The projection itself: under one name there may be another one another day.
        Seeded(replace(settings.projection, projection=make_projection), keys["projection"]),
        data,
        partial(make_features, policy, projection, execution),
        like=Features,
    )
    data |= {"features": features, "subsets": subsets}
    fits = stage(
        "fits",
        HalvedFit(settings.fit, split_key),
        data,
        partial(fit, execution),
        like=SubsetFits,
    )
    scores = stage(
        "scores",
        HalvedScore(choices.score, keys["scores"], split_key),
        data | {"fits": fits},
        partial(score, policy, projection),
    )
    # Finished stages come back as NumPy's arrays.
    subsets, scores, fits = jax.tree.map(jnp.asarray, (subsets, scores, fits))
    fitted = cache(partial(choices.rule.fit, scores, subsets))
    judged = {"scores": scores, "subsets": subsets}
    affinity = stage("affinity", choices.rule, judged, lambda rule, **_: Outcome(fitted().affinity))
    grouping = stage(
        "grouping",
        SeededGrouping(choices.grouping, _seed_of(key)),
        judged | {"affinity": affinity},
        # Made again where the affinity comes from a finished stage.
        partial(cluster, lambda *data: fitted().refit(*data)),
        like=stored_grouping,
    )
    name = AFFINITY_RULES.name_of(settings.affinity.affinity or choices.rule)
    return Estimate(grouping, affinity, scores, subsets, fits, projection, features.scale, name)


def subsets_stage(stage: RunStage, settings: DesignSettings, num_tasks: int, key: Array) -> Array:
    """The first stage, alone: bool[m, n]; too few subsets for every pair are an error here.

    Args:
        stage: how a stage is run.
        settings: of the design.
        num_tasks: n.
        key: of the stage.

    Returns:
        The subsets.

    Raises:
        ValueError: as ``balanced_subsets``.
    """
    design = usual_design(
        num_tasks, subset_size=settings.subset_size, num_subsets=settings.num_subsets
    )
    return stage("subsets", Seeded(design, key), {}, draw_subsets)


class _Choices(NamedTuple):
    score: Score
    rule: AffinityRule
    grouping: GroupingSettings


def _choices(settings: EstimationSettings, num_tasks: int, rollouts: Rollouts | None) -> _Choices:
    """The objects that names stand for, and what suits the number of tasks where none is given."""
    judge, grouping = settings.score, settings.grouping
    # With k given no automatic choice is made, and its bound decides nothing.
    if num_tasks == 1:
        grouping = replace(grouping, num_groups=1, max_groups=None)
    elif grouping.num_groups is not None:
        grouping = replace(grouping, max_groups=None)
    grouping = replace(grouping, objective=OBJECTIVES.find(grouping.objective))
    return _Choices(
        make_score(judge.score, ScoreOptions(rho=judge.rho, rollouts=rollouts)),
        AFFINITY_RULES.find(settings.affinity.affinity or usual_affinity_rule(num_tasks)),
        grouping,
    )


def _seed_of(key: Array) -> int:
    """The seed that ``jax.random.key`` made the key of, or a number that stands for it."""
    return int(np.asarray(jax.random.key_data(key)).ravel()[-1])


def standardised_transitions(transitions: Transitions) -> Transitions:
    """Parsed transitions with advantages of mean 0 and deviation 1 per task.

    Raises:
        ValueError: a task whose advantages are the same for every transition.
    """
    advantage = standardise_advantage(transitions.advantage, transitions.mask)
    if validation.is_concrete(advantage):
        constant = np.flatnonzero(~np.asarray(jnp.any(advantage != 0, axis=1)))
        if constant.size:
            raise ValueError(
                f"the advantages of tasks {constant.tolist()} are the same for every transition, "
                "so no action is better than another; check the rewards and the advantage estimator"
            )
    return transitions._replace(advantage=advantage)
