"""The functions of the estimation's stages, each with the settings that it may read.

A stage's function is given one record of settings, which its hash is made of, and what the stages
before it made. What else it is bound to (a policy, a projection) is made from these.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.logistic import solve_subset_fits
from pgx_jax.estimation.fits.objective import FitLimits
from pgx_jax.estimation.gradients.halves import split_transitions
from pgx_jax.estimation.projections.base import Projection
from pgx_jax.estimation.projections.features import normalise_features, project_gradients
from pgx_jax.estimation.scores.base import Score, ScoreInputs
from pgx_jax.grouping.cluster import cluster_by_goal
from pgx_jax.grouping.goals import Automatic, ExactlyK, Goal
from pgx_jax.grouping.objectives import OBJECTIVES
from pgx_jax.pipeline.stages import Outcome
from pgx_jax.settings import FitSettings, GroupingSettings
from pgx_jax.types import Grouping, PolicyFunction, SubsetFits, Transitions


class Execution(NamedTuple):
    """How the work is cut; it decides no result.

    Attributes:
        batch_size: transitions that pass through the policy at a time.
        mesh: devices for features and fits; None takes the default one.
    """

    batch_size: int = 1024
    mesh: Mesh | None = None


class Features(NamedTuple):
    """Features of all transitions.

    Attributes:
        features: float[n, T, d], of unit mean square norm.
        scale: what they were divided by.
    """

    features: Array
    scale: Array


class Seeded(NamedTuple):
    """Settings of a stage that draws random numbers, and their key."""

    settings: Any
    key: Array


class HalvedFit(NamedTuple):
    """Settings of the fits; the key that splits transitions, None where all are fitted."""

    settings: FitSettings
    split_key: Array | None


class HalvedScore(NamedTuple):
    """A score, its key, and the key that splits transitions."""

    score: Score
    key: Array
    split_key: Array | None


class SeededGrouping(NamedTuple):
    """Settings of the clustering, and the seed of its random starts and folds."""

    settings: GroupingSettings
    seed: int


def draw_subsets(given: Seeded) -> Outcome:
    """The stage "subsets": bool[m, n] of a design."""
    return Outcome(given.settings.draw(given.key))


def make_features(
    policy: PolicyFunction,
    projection: Projection,
    execution: Execution,
    given: Seeded,
    transitions: Transitions,
) -> Outcome:
    """The stage "features": ``Features``."""
    del given  # the projection is made of it
    made = project_gradients(
        policy,
        transitions,
        projection,
        batch_size=execution.batch_size,
        mesh=execution.mesh,
    )
    validation.check_values(mask=transitions.mask, gradients=made)
    return Outcome(Features(*normalise_features(made, transitions.mask)))


def fit(
    execution: Execution,
    given: HalvedFit,
    transitions: Transitions,
    features: Features,
    subsets: Array,
) -> Outcome:
    """The stage "fits": ``SubsetFits``."""
    mask, _ = _halves(given.split_key, transitions)
    fits = solve_subset_fits(
        features.features,
        transitions.advantage,
        mask,
        subsets,
        FitLimits(given.settings.l2),
        mesh=execution.mesh,
    )
    facts = {
        "converged": int(np.sum(fits.converged)),
        "steps": int(fits.steps),
        "largest_grad_norm": float(np.max(fits.grad_norm)),
    }
    return Outcome(fits, facts=facts)


def score(
    policy: PolicyFunction,
    projection: Projection,
    given: HalvedScore,
    transitions: Transitions,
    features: Features,
    subsets: Array,
    fits: SubsetFits,
) -> Outcome:
    """The stage "scores": float[m, n]."""
    _, mask = _halves(given.split_key, transitions)
    scores = given.score.score(
        ScoreInputs(
            fits=fits,
            features=features.features,
            advantage=transitions.advantage,
            mask=mask,
            subsets=subsets,
            policy=policy,
            projection=projection,
            transitions=transitions,
            key=given.key,
        )
    )
    return Outcome(scores.values, scores.env_steps)


def _halves(split_key: Array | None, transitions: Transitions) -> tuple[Array, Array]:
    """Masks of the transitions to fit on and to score on; the same ones where nothing is split."""
    if split_key is None:
        return transitions.mask, transitions.mask
    return split_transitions(split_key, transitions.advantage, transitions.mask)


def cluster(
    refit: Callable[..., np.ndarray],
    given: SeededGrouping,
    scores: Array,
    subsets: Array,
    affinity: Array,
) -> Outcome:
    """The stage "grouping": ``Grouping``."""
    settings = given.settings
    num_groups = settings.num_groups
    # Without a number of groups such scores give one group.
    if num_groups is not None and 1 < num_groups < subsets.shape[1]:
        _check_informative(np.asarray(scores), np.asarray(subsets))
    objective = OBJECTIVES.find(settings.objective)
    goal: Goal = Automatic(scores, subsets, refit, settings.max_groups, given.seed, objective)
    if num_groups is not None:
        goal = ExactlyK(num_groups, objective)
    found = cluster_by_goal(affinity, goal, seed=given.seed)
    facts = {name: value for name, value in found._asdict().items() if name != "labels"}
    return Outcome(found, facts={**facts, "certified_gap": found.certified_gap})


def stored_grouping(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Grouping:
    """A grouping from its labels and the facts beside them; JSON has made k a text."""
    values = {name: facts[name] for name in Grouping._fields if name != "labels"}
    if values["selection"] is not None:
        values["selection"] = {int(k): error for k, error in values["selection"].items()}
    return Grouping(labels=arrays["labels"], **values)


def _check_informative(scores: np.ndarray, subsets: np.ndarray) -> None:
    """Raise where no task's score depends on the subset."""
    least = np.where(subsets, scores, np.inf).min(axis=0)
    most = np.where(subsets, scores, -np.inf).max(axis=0)
    if (most - least <= 1e-7 * np.maximum(np.abs(most), np.abs(least))).all():
        raise ValueError(
            "the score of every task is the same in all subsets that hold it, so nothing tells "
            "which tasks go together; check that rollout uses its params, raise rho, or take "
            "a subset_size below the number of tasks"
        )
