"""The stages that train and evaluate policies, for every method alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.initial import Demonstrations, initial_agent
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.slices import (
    EvaluationSlice,
    GroupSlice,
    LearnerSlice,
    MetaSlice,
    TransitionSlice,
)
from pgx_jax.pipeline import Outcome, stage_key
from pgx_jax.rl.algorithms import Algorithm
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.training import OnUpdate, Trained, train
from pgx_jax.rl.transitions import collect_transitions


def algorithm_of(learner: LearnerSlice, family: TaskFamily) -> Algorithm:
    """The algorithm on the family's environment."""
    return learner.algorithm.make(family.environment, learner.network, family.num_tasks)


def updates_for(algorithm: Algorithm, env_steps: float) -> int:
    """Updates that come nearest to that many environment steps, at least one."""
    return max(1, round(env_steps / algorithm.steps_per_update))


def trained_like(algorithm: Algorithm) -> Trained:
    """The structure of ``Trained``, for the store."""
    agent = jax.eval_shape(algorithm.init_agent, jax.random.key(0))
    metrics = dict.fromkeys(("return", *algorithm.environment.info_names), 0)
    return cast(Trained, Trained(agent, cast(Any, 0), cast(Any, metrics)))


def meta_train(
    family: TaskFamily,
    advance: Advance,
    given: MetaSlice,
    demonstrations: Demonstrations | None = None,
) -> Outcome:
    """The stage "meta": one agent on all tasks, ``Trained``."""
    algorithm = algorithm_of(given.learner, family)
    key, agent_key = jax.random.split(given.key)
    agent = _fresh(algorithm, given.learner, demonstrations, agent_key)
    members = np.arange(family.num_tasks)
    count = updates_for(algorithm, given.env_steps)
    result = train(
        algorithm, agent, family.train_tasks, members, count, key, _noted(family, advance)
    )
    return Outcome(result, int(result.env_steps[-1]))


def collect(
    family: TaskFamily, learner: LearnerSlice, given: TransitionSlice, meta: Trained
) -> Outcome:
    """The stage "transitions": ``Transitions`` of every task under θ*."""
    collected = collect_transitions(
        algorithm_of(learner, family),
        jax.tree.map(jnp.asarray, meta.agent),
        family.train_tasks,
        given.key,
        num_tasks=family.num_tasks,
        num_steps=given.num_steps,
    )
    return Outcome(collected, family.num_tasks * given.num_steps)


def group_train(
    family: TaskFamily,
    advance: Advance,
    given: GroupSlice,
    meta: Trained | None = None,
    demonstrations: Demonstrations | None = None,
) -> Outcome:
    """A stage "train/METHOD": one agent per group, ``Trained`` by "group0" and so on.

    Groups share the steps by their numbers of tasks. They go on from θ* where ``meta`` is given.
    """
    algorithm = algorithm_of(given.learner, family)
    labels = np.asarray(given.labels)
    num_groups = int(labels.max()) + 1
    groups: dict[str, Trained] = {}
    for group in range(num_groups):
        members = np.flatnonzero(labels == group)
        key = jax.random.fold_in(given.key, group)
        if meta is not None:
            agent = jax.tree.map(jnp.asarray, meta.agent)
        else:
            key, agent_key = jax.random.split(key)
            agent = _fresh(algorithm, given.learner, demonstrations, agent_key)

        def tell(share: float, note: str, group: int = group) -> None:
            advance((group + share) / num_groups, f"group {group + 1}/{num_groups} {note}")

        count = updates_for(algorithm, given.env_steps * len(members) / len(labels))
        groups[f"group{group}"] = train(
            algorithm, agent, family.train_tasks, members, count, key, _noted(family, tell)
        )
    return Outcome(groups, sum(int(one.env_steps[-1]) for one in groups.values()))


def _noted(family: TaskFamily, advance: Advance) -> OnUpdate:
    """Tells the share done, and the mean of what was seen of the family's metric."""

    def on_update(share: float, means: Mapping[str, np.ndarray]) -> None:
        seen = means[family.metric][np.isfinite(means[family.metric])]
        advance(share, f"mean {family.metric} {seen.mean():.4g}" if seen.size else "")

    return on_update


def _fresh(
    algorithm: Algorithm, learner: LearnerSlice, shown: Demonstrations | None, key: jax.Array
) -> Any:
    clone_steps = 0 if learner.start is None else learner.start.clone_steps
    return initial_agent(algorithm, clone_steps, shown, key)


class Evaluated(NamedTuple):
    """Final returns of one method, or whatever else the family's metric is.

    Attributes:
        source: float[k, n, episodes], every policy in every source task.
        test: float[tasks, episodes], the chosen policy in each held-out task.
        chosen: int[tasks], the policy that each held-out task chose.
    """

    source: np.ndarray
    test: np.ndarray
    chosen: np.ndarray


def evaluate_policies(
    family: TaskFamily, advance: Advance, given: EvaluationSlice, train: dict[str, Trained]
) -> Outcome:
    """A stage "evaluate/METHOD": ``Evaluated``, and the steps that choosing took.

    A held-out task has no group. It tries each of the k policies for a few episodes and keeps
    the one with the highest mean metric; the final episodes are fresh ones. With k = 1 there is
    nothing to choose and no step is spent on it. The keys are the same for every method.
    """
    algorithm = algorithm_of(given.learner, family)
    settings = given.settings
    num_test = len(jax.tree.leaves(family.test_tasks)[0])

    def returns_of(params: Any, tasks: Any, count: int, name: str, episodes: int) -> tuple:
        result = evaluate(
            algorithm.environment,
            algorithm.policy,
            params,
            tasks,
            jnp.arange(count),
            stage_key(given.key, name),
            num_episodes=episodes,
            horizon=algorithm.environment.max_episode_steps,
        )
        return np.asarray(result.metric(family.metric)), int(result.num_steps)

    source, trials, final, steps = [], [], [], 0
    for index in range(len(train)):
        agent = jax.tree.map(jnp.asarray, train[f"group{index}"].agent)
        params = algorithm.policy_params(agent)
        own = returns_of(
            params, family.train_tasks, family.num_tasks, "source", settings.eval_episodes
        )
        source.append(own[0])
        if settings.selection_episodes:
            trial, used = returns_of(
                params, family.test_tasks, num_test, "selection", settings.selection_episodes
            )
            trials.append(trial.mean(axis=1))
            steps += used
        tested = returns_of(params, family.test_tasks, num_test, "test", settings.test_episodes)
        final.append(tested[0])
        advance((index + 1) / len(train), "")
    chosen = np.argmax(trials, axis=0) if trials else np.zeros(num_test, int)
    test = np.stack(final)[chosen, np.arange(num_test)]
    return Outcome(Evaluated(np.stack(source), test, chosen), steps)
