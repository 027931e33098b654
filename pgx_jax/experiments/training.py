"""Training and evaluating policies on chosen tasks, for every method alike."""

import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.config import RunConfig
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.store import Tree
from pgx_jax.networks import MLP, matched_network
from pgx_jax.rl import training
from pgx_jax.rl.algorithms.ppo import PPO
from pgx_jax.rl.algorithms.ppo_types import Agent
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.policies import make_policy


class Trained(NamedTuple):
    """A trained agent and how it got there.

    Attributes:
        agent: parameters.
        env_steps: int[updates], environment steps after each update.
        returns: float[updates, n], mean metric of the episodes that ended in each update; NaN
            where none did.
    """

    agent: Agent
    env_steps: np.ndarray
    returns: np.ndarray


def stage_key(config: RunConfig, name: str) -> Array:
    """The PRNG key of a stage: a function of the run's seed and the stage's name alone."""
    return jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(name.encode()))


def make_ppo(family: TaskFamily, config: RunConfig, hidden_sizes: tuple[int, ...]) -> PPO:
    """PPO on the family's environment with networks of the given widths."""
    return config.ppo.make(family.environment, MLP(hidden_sizes), family.num_tasks)


def matched_hidden_sizes(
    family: TaskFamily, hidden_sizes: tuple[int, ...], num_policies: int
) -> tuple[int, ...]:
    """Widths of one policy that has as many parameters as ``num_policies`` of the given ones."""
    make = partial(make_policy, family.environment)
    return matched_network(make, MLP(hidden_sizes), num_policies).hidden_sizes


def train(
    ppo: PPO,
    agent: Agent,
    family: TaskFamily,
    members: np.ndarray,
    num_updates: int,
    key: Array,
    advance: Advance,
) -> Trained:
    """PPO on some of the family's tasks.

    Args:
        ppo: the algorithm.
        agent: where to start.
        family: the tasks.
        members: int[s], which of the source tasks to train on, evenly.
        num_updates: updates to take.
        key: PRNG key.
        advance: told the share done after every update.

    Returns:
        The trained agent with its learning curve.
    """
    result = training.train(
        ppo,
        agent,
        family.train_tasks,
        members,
        num_updates,
        key,
        lambda share, means: advance(share, _note(family.metric, means[family.metric])),
    )
    return Trained(result.agent, result.env_steps, result.metrics[family.metric])


def _note(metric: str, values: np.ndarray) -> str:
    seen = values[np.isfinite(values)]
    return f"mean {metric} {seen.mean():.4g}" if seen.size else ""


def agent_tree(agent: Agent) -> Tree:
    """An agent as nested dicts of arrays, for the store."""
    return jax.tree.map(np.asarray, agent._asdict())


def tree_agent(tree: Tree) -> Agent:
    """The agent of ``agent_tree``."""
    return Agent(**jax.tree.map(jnp.asarray, tree))


class Scores(NamedTuple):
    """Final returns of one method, or whatever else the family's metric is.

    Attributes:
        source: float[k, n, episodes], every policy in every source task.
        test: float[tasks, episodes], the chosen policy in each held-out task.
        chosen: int[tasks], the policy that each held-out task chose.
        selection_steps: environment steps that choosing took.
    """

    source: np.ndarray
    test: np.ndarray
    chosen: np.ndarray
    selection_steps: int


def evaluate_policies(
    ppo: PPO, policies: list[Any], family: TaskFamily, config: RunConfig, advance: Advance
) -> Scores:
    """Every policy on the source tasks; on the held-out tasks the one that suits each best.

    A held-out task has no group. It tries each of the k policies for a few episodes and keeps
    the one with the highest mean metric; the final episodes are fresh ones. With k = 1 there is
    nothing to choose and no step is spent on it. The keys are the same for every method.

    Args:
        ppo: gives environment and policy functions.
        policies: k parameter pytrees.
        family: the tasks.
        config: episodes and seed.
        advance: told the share done.

    Returns:
        The returns.
    """
    horizon = ppo.environment.max_episode_steps
    num_test = len(jax.tree.leaves(family.test_tasks)[0])

    def returns_of(params: Any, tasks: Any, count: int, name: str, episodes: int) -> tuple:
        result = evaluate(
            ppo.environment,
            ppo.policy,
            params,
            tasks,
            jnp.arange(count),
            stage_key(config, name),
            num_episodes=episodes,
            horizon=horizon,
        )
        return np.asarray(result.metric(family.metric)), int(result.num_steps)

    source, trials, final, steps = [], [], [], 0
    for index, params in enumerate(policies):
        source.append(
            returns_of(
                params, family.train_tasks, family.num_tasks, "source", config.eval_episodes
            )[0]
        )
        if len(policies) > 1:
            trial, used = returns_of(
                params, family.test_tasks, num_test, "selection", config.selection_episodes
            )
            trials.append(trial.mean(axis=1))
            steps += used
        final.append(
            returns_of(params, family.test_tasks, num_test, "test", config.test_episodes)[0]
        )
        advance((index + 1) / len(policies), "")
    chosen = np.argmax(trials, axis=0) if trials else np.zeros(num_test, int)
    test = np.stack(final)[chosen, np.arange(num_test)]
    return Scores(np.stack(source), test, chosen, steps)
