"""From meta-training to groups, each stage kept in the run's folder."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.initial import Demonstrating, check_experts, demonstrate, observation_like
from pgx_jax.experiments.methods import Evidence
from pgx_jax.experiments.rollouts import EpisodeRollouts
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.slices import (
    learner_slice,
    meta_slice,
    run_key,
    task_slice,
    transition_slice,
)
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.training import algorithm_of, collect, meta_train, trained_like
from pgx_jax.pipeline import estimate, stage_key, standardised_transitions, subsets_stage
from pgx_jax.rl.training import Trained
from pgx_jax.types import PolicyFunction, Transitions


class Estimated(NamedTuple):
    """What was found before anything is trained per group.

    Attributes:
        evidence: groups and what they were made from.
        meta: the trained meta-policy.
        demonstrations: after a warm start those by the stage's name, as a parent; else empty.
    """

    evidence: Evidence
    meta: Trained
    demonstrations: dict


def estimate_groups(runner: StageRunner, family: TaskFamily, config: RunConfig) -> Estimated:
    """Meta-training, transitions, and the estimate from them.

    Args:
        runner: runs or reuses the stages.
        family: the tasks.
        config: the settings.

    Returns:
        ``Estimated``. All the stages are in ``runner.finished``.

    Raises:
        ValueError: a warm start in a family that has no experts, too few subsets.
    """
    check_experts(family, config.training.start)
    learner, key = learner_slice(config), run_key(config)
    algorithm = algorithm_of(learner, family)
    # First: too few subsets to cover every pair is an error, before any work.
    subsets_stage(runner, config.estimation.design, family.num_tasks, stage_key(key, "subsets"))
    shown = {}
    if learner.start is not None:
        given = Demonstrating(
            task_slice(config), learner.start.demonstrations, stage_key(key, "demonstrations")
        )
        shown = demonstrate(runner, family, given)
    meta: Trained = runner(
        "meta",
        meta_slice(config),
        shown,
        partial(meta_train, family, runner.advance),
        trained_like(algorithm),
    )
    collected = runner(
        "transitions",
        transition_slice(config),
        {"meta": meta},
        partial(collect, family, learner),
        _transitions_like(family),
    )
    transitions = standardised_transitions(jax.tree.map(jnp.asarray, collected))
    agent = jax.tree.map(jnp.asarray, meta.agent)
    rollouts = EpisodeRollouts(
        config.sampling.score_episodes,
        algorithm,
        family.train_tasks,
        family.close is not None,
        runner.advance,
    )
    found = estimate(
        PolicyFunction(algorithm.policy.log_prob, algorithm.policy_params(agent)),
        transitions,
        config.estimation,
        key,
        stage=runner,
        rollouts=rollouts,
    )
    features = runner.finished["features"].value.features
    return Estimated(Evidence(found, features, transitions, config.seed), meta, shown)


def _transitions_like(family: TaskFamily) -> Transitions:
    return Transitions(observation_like(family), 0, 0, 0)
