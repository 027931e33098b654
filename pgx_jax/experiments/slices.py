"""The slices of a configuration that stages are given: what each may read, and is hashed by."""

import dataclasses
from typing import Any, NamedTuple

import jax
from jax import Array

from pgx_jax.envs.families import find_family
from pgx_jax.envs.sources import source_of
from pgx_jax.experiments.config import network_of
from pgx_jax.experiments.settings import EvaluationSettings, RunConfig, StartSettings, TaskSettings
from pgx_jax.networks import Network
from pgx_jax.pipeline import stage_key
from pgx_jax.rl.algorithms import ALGORITHMS, AlgorithmSettings


class TaskSlice(NamedTuple):
    """The source tasks, digests of the files outside the package that make them, and the maker.

    ``maker`` is None for a family that is found by its module's and its function's names.
    """

    settings: TaskSettings
    sources: dict[str, str]
    maker: Any = None


class LearnerSlice(NamedTuple):
    """Who learns: network, algorithm, and the settings of a warm start if there is one."""

    network: Network
    algorithm: AlgorithmSettings
    start: StartSettings | None


class MetaSlice(NamedTuple):
    """What meta-training may read."""

    tasks: TaskSlice
    learner: LearnerSlice
    env_steps: int
    key: Array


class TransitionSlice(NamedTuple):
    """What collecting transitions may read."""

    num_steps: int
    key: Array


class GroupSlice(NamedTuple):
    """What training one policy per group may read."""

    tasks: TaskSlice
    learner: LearnerSlice
    labels: tuple[int, ...]
    env_steps: int
    key: Array


class EvaluationSlice(NamedTuple):
    """What evaluating trained policies may read.

    ``settings.selection_episodes`` is 0 where there is one policy and nothing to choose.
    """

    settings: EvaluationSettings
    learner: LearnerSlice
    key: Array


def run_key(config: RunConfig) -> Array:
    """The PRNG key of a run."""
    return jax.random.key(config.seed)


def task_slice(config: RunConfig, identity: Any = None) -> TaskSlice:
    """The tasks, with what policies are told of them if that is not as in the configuration."""
    tasks = config.tasks
    sources = source_of(tasks.environment, tasks.task_file)
    # The file's content is among the sources; where it lies decides nothing.
    told = tasks.identity if identity is None else identity
    entry, _ = find_family(tasks.environment)
    maker = entry.maker if callable(entry.maker) else None
    return TaskSlice(dataclasses.replace(tasks, task_file=None, identity=told), sources, maker)


def learner_slice(config: RunConfig) -> LearnerSlice:
    """Who learns by the run's settings."""
    start = config.training.start
    return LearnerSlice(
        network_of(config.training),
        ALGORITHMS.find(config.training.algorithm),
        None if start.warm_start == "none" else start,
    )


def meta_slice(config: RunConfig) -> MetaSlice:
    """What meta-training may read."""
    return MetaSlice(
        task_slice(config),
        learner_slice(config),
        config.training.meta_steps,
        stage_key(run_key(config), "meta"),
    )


def transition_slice(config: RunConfig) -> TransitionSlice:
    """What collecting transitions may read."""
    return TransitionSlice(config.sampling.num_steps, stage_key(run_key(config), "transitions"))
