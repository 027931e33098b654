"""Training and evaluating policies on chosen tasks, for every method alike."""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.config import RunConfig
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.store import Tree
from pgx_jax.networks.policies import Critic, count_parameters
from pgx_jax.rl.algorithms.ppo import PPO, Agent, share_environments
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.rollout import make_policy


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
    environment = family.environment
    shape = environment.observation_shape
    return PPO(
        environment,
        make_policy(environment, hidden_sizes),
        Critic(shape, family.num_tasks, hidden_sizes),
        config.ppo,
    )


def matched_hidden_sizes(
    family: TaskFamily, hidden_sizes: tuple[int, ...], num_policies: int
) -> tuple[int, ...]:
    """Widths of one policy that has as many parameters as ``num_policies`` of the given ones.

    The widths keep their proportions; the count is the nearest that whole numbers allow.
    """

    def count(sizes: tuple[int, ...]) -> int:
        policy = make_policy(family.environment, sizes)
        return count_parameters(jax.eval_shape(policy.init, jax.random.key(0)))

    wanted = num_policies * count(hidden_sizes)

    def scaled(width: int) -> tuple[int, ...]:
        return tuple(max(1, round(size * width / hidden_sizes[0])) for size in hidden_sizes)

    widths = range(hidden_sizes[0], hidden_sizes[0] * num_policies + 1)
    return min((scaled(width) for width in widths), key=lambda sizes: abs(count(sizes) - wanted))


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
    task_index = share_environments(jnp.asarray(members), ppo.config.num_envs)
    state = ppo.init(agent, family.train_tasks, task_index, key)
    returns = np.full((num_updates, family.num_tasks), np.nan)
    for update in range(num_updates):
        share = jnp.asarray(update / num_updates, jnp.float32)
        state, metrics = ppo.update(state, family.train_tasks, task_index, share)
        count = np.asarray(metrics.episode_count)
        ended = count > 0
        summed = (
            metrics.return_sum if family.metric == "return" else metrics.info_sum[family.metric]
        )
        returns[update, ended] = np.asarray(summed)[ended] / count[ended]
        advance((update + 1) / num_updates, _note(family.metric, returns[update]))
    steps = (np.arange(num_updates) + 1) * ppo.config.steps_per_update
    return Trained(state.agent, steps, returns)


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
