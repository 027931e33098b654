"""The training loop, and all else that takes an algorithm, with one that is not PPO."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.networks import MLP
from pgx_jax.rl.algorithms.base import TrainingMetrics, episode_metrics
from pgx_jax.rl.policies import make_policy
from pgx_jax.rl.rollout import RolloutState, reset_rollout, rollout, tasks_of
from pgx_jax.rl.training import episode_means, share_environments, train
from pgx_jax.rl.transitions import collect_transitions
from tests.rl.probes import (
    CHAIN,
    CONFIG,
    TERMINATES,
    Probe,
    chain,
    constant_reward,
    make_agent,
    make_ppo,
    stack,
)

NUM_ENVS, NUM_STEPS, NUM_TASKS = 6, 4, 3


class CountingState(NamedTuple):
    agent: dict
    rollout: RolloutState
    key: jax.Array


@dataclass(frozen=True)
class Counting:
    """Steps environments and learns nothing but how many updates there were, and when."""

    environment: Probe
    policy: object
    num_envs: int = NUM_ENVS
    steps_per_update: int = NUM_ENVS * NUM_STEPS

    def init_agent(self, key):
        return {"net": self.policy.init(key), "updates": 0, "progress": 0.0}

    def policy_params(self, agent):
        return agent["net"]

    def with_policy_params(self, agent, params):
        return {**agent, "net": params}

    def init(self, agent, tasks, task_index, key):
        envs = reset_rollout(self.environment, tasks_of(tasks, task_index), key)
        return CountingState(agent, envs, key)

    def update(self, state, tasks, task_index, progress):
        key, own = jax.random.split(state.key)
        envs, trajectory = rollout(
            self.environment,
            self.policy,
            state.agent["net"],
            state.rollout,
            tasks_of(tasks, task_index),
            own,
            NUM_STEPS,
        )
        metrics = episode_metrics(trajectory, task_index, NUM_TASKS, {"progress": progress})
        agent = {
            **state.agent,
            "updates": state.agent["updates"] + 1,
            "progress": state.agent["progress"] + float(progress),
        }
        return CountingState(agent, envs, key), metrics

    def advantages(self, agent, trajectory, task_index):
        return trajectory.step.reward + agent["updates"]


@pytest.fixture(scope="module")
def algorithm():
    environment = Probe()
    return Counting(environment, make_policy(environment, MLP((4,))))


TASKS = stack(constant_reward(2.0), chain(TERMINATES, 0.5), constant_reward(-1.0))


class TestTrain:
    def test_curves_steps_and_callback(self, algorithm):
        seen = []
        agent = algorithm.init_agent(jax.random.key(0))
        result = train(
            algorithm,
            agent,
            TASKS,
            np.array([0, 1]),
            4,
            jax.random.key(1),
            lambda share, means: seen.append((share, means)),
        )
        assert result.agent["updates"] == 4
        assert result.agent["progress"] == 0 + 0.25 + 0.5 + 0.75
        assert agent["updates"] == 0  # the agent that was handed in
        np.testing.assert_array_equal(result.env_steps, NUM_ENVS * NUM_STEPS * np.arange(1, 5))
        assert result.metrics.keys() == {"return"}
        expected = np.tile([2.0, 0.5 * CHAIN, np.nan], (4, 1))  # nothing of the task left out
        np.testing.assert_allclose(result.metrics["return"], expected)
        assert [share for share, _ in seen] == [0.25, 0.5, 0.75, 1.0]
        np.testing.assert_array_equal(
            [means["return"] for _, means in seen], result.metrics["return"]
        )

    def test_equals_a_loop_over_updates(self):
        ppo = make_ppo()
        tasks = stack(constant_reward(2.0), constant_reward(-1.0))
        agent, key = make_agent(ppo), jax.random.key(3)
        result = train(ppo, agent, tasks, [1], 2, key)
        index = share_environments(jnp.array([1]), CONFIG.num_envs)
        state = ppo.init(agent, tasks, index, key)
        for update in range(2):
            state, _ = ppo.update(state, tasks, index, jnp.float32(update / 2))
        jax.tree.map(np.testing.assert_array_equal, result.agent, state.agent)
        np.testing.assert_array_equal(result.metrics["return"], [[np.nan, -1.0]] * 2)

    def test_refuses_no_update_and_too_few_environments(self, algorithm):
        agent = algorithm.init_agent(jax.random.key(0))
        with pytest.raises(ValueError, match="num_updates is 0; it must be at least 1"):
            train(algorithm, agent, TASKS, [0], 0, jax.random.key(1))
        with pytest.raises(ValueError, match="num_envs is 6 for 7 tasks"):
            train(algorithm, agent, TASKS, [0] * 7, 1, jax.random.key(1))


def test_means_are_by_name_and_nan_where_nothing_ended():
    metrics = TrainingMetrics(
        jnp.array([6.0, 0.0]), jnp.array([3, 0]), {"success": jnp.array([1.5, 0.0])}, {}
    )
    means = episode_means(metrics)
    np.testing.assert_array_equal(means["return"], [2.0, np.nan])
    np.testing.assert_array_equal(means["success"], [0.5, np.nan])


def test_transitions_have_the_algorithms_own_advantages(algorithm):
    agent = algorithm.with_policy_params(
        {"net": None, "updates": jnp.asarray(10.0), "progress": 0.0},
        algorithm.policy.init(jax.random.key(0)),
    )
    collected = collect_transitions(
        algorithm, agent, TASKS, jax.random.key(1), num_tasks=3, num_steps=8
    )
    rewards = np.array([2.0, 0.5, -1.0])
    np.testing.assert_allclose(collected.advantage, np.tile(rewards[:, None] + 10, (1, 8)))


class TestShareEnvironments:
    def test_tasks_take_turns(self):
        shared = share_environments(jnp.array([4, 1, 7]), 6)
        np.testing.assert_array_equal(shared, [4, 1, 7, 4, 1, 7])

    def test_counts_differ_by_one_at_most(self):
        shared = np.asarray(share_environments(jnp.arange(3), 8))
        np.testing.assert_array_equal(np.bincount(shared), [3, 3, 2])

    def test_too_few_environments(self):
        with pytest.raises(ValueError, match="num_envs is 2 for 3 tasks"):
            share_environments(jnp.arange(3), 2)
