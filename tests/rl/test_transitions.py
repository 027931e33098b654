"""Collected transitions belong to the tasks they are filed under."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.cartpole import cartpole
from pgx_jax.networks import MLP
from pgx_jax.rl.algorithms import PPOConfig
from pgx_jax.rl.transitions import collect_transitions
from tests.rl.probes import (
    CONFIG,
    GOES_ON,
    TERMINATES,
    TRUNCATES,
    chain,
    delayed_reward,
    make_agent,
    make_ppo,
    stack,
)
from tests.rl.reference import advantages_by_loop, cartpole_physics, cartpole_step

TASKS, STEPS, ENVS = 3, 58, 4
LENGTH = 15  # steps of each environment: the first multiple of 4 from 58 on is 60


class TestCartPole:
    @pytest.fixture(scope="class")
    def tasks(self):
        return cartpole(num_tasks=TASKS, num_test_tasks=1).train_tasks

    @pytest.fixture(scope="class")
    def ppo(self):
        environment = cartpole(num_tasks=1, num_test_tasks=1).environment
        return PPOConfig().make(environment, MLP((8,)), TASKS)

    @pytest.fixture(scope="class")
    def agent(self, ppo):
        return make_agent(ppo, scale=0.5)

    @pytest.fixture(scope="class")
    def collected(self, ppo, tasks, agent):
        return collect_transitions(
            ppo,
            agent,
            tasks,
            jax.random.key(3),
            num_tasks=TASKS,
            num_steps=STEPS,
            envs_per_task=ENVS,
        )

    def test_shapes_when_environments_do_not_divide_steps(self, collected):
        assert collected.observation.shape == (TASKS, STEPS, 4)
        assert collected.action.shape == (TASKS, STEPS)
        assert collected.advantage.shape == (TASKS, STEPS)
        assert collected.mask.shape == (TASKS, STEPS)
        assert collected.mask.dtype == bool
        assert collected.mask.all()
        assert np.isfinite(collected.advantage).all()

    def test_dynamics_replay_with_own_task_and_no_other(self, collected, tasks):
        """s_t, a_t -> s_{t+1} by the task's own physics, save where an episode ended."""
        observation = np.asarray(collected.observation)
        action = np.asarray(collected.action)
        agreement = np.zeros((TASKS, TASKS))
        continued = 0
        for task in range(TASKS):
            for t in range(STEPS - 1):
                if t % LENGTH == LENGTH - 1:  # the next row is another environment's first
                    assert np.abs(observation[task, t + 1]).max() <= 0.05
                    continue
                after, ended = cartpole_step(
                    observation[task, t], action[task, t], cartpole_physics(tasks, task)
                )
                if ended:
                    assert np.abs(observation[task, t + 1]).max() <= 0.05
                    continue
                continued += 1
                np.testing.assert_allclose(observation[task, t + 1], after, atol=1e-4)
                for other in range(TASKS):
                    physics = cartpole_physics(tasks, other)
                    guess, _ = cartpole_step(observation[task, t], action[task, t], physics)
                    agreement[task, other] += np.allclose(
                        observation[task, t + 1], guess, atol=1e-4
                    )
        assert continued > TASKS * STEPS // 2
        assert agreement[~np.eye(TASKS, dtype=bool)].max() == 0

    def test_more_environments_than_steps(self, ppo, tasks, agent):
        def shapes(steps, envs):
            return jax.eval_shape(
                lambda: collect_transitions(
                    ppo,
                    agent,
                    tasks,
                    jax.random.key(0),
                    num_tasks=TASKS,
                    num_steps=steps,
                    envs_per_task=envs,
                )
            )

        assert shapes(3, 16).observation.shape == (TASKS, 3, 4)
        assert shapes(1, 1).advantage.shape == (TASKS, 1)


class TestDeadSteps:
    """Every advantage and the mask, by replaying the tables with their dead steps."""

    LENGTH, ENVS, MEANS = 9, 2, (2.0, -3.0)
    TASKS = stack(delayed_reward(), chain(TRUNCATES, 0.5))._replace(garbage=jnp.full(2, jnp.nan))

    @pytest.fixture(scope="class")
    def collected(self):
        ppo = make_ppo(dead_steps=True)
        agent = make_agent(ppo, scale=0.5)
        agent = agent._replace(
            critic=jax.tree.map(jnp.zeros_like, agent.critic),  # V is each task's mean, everywhere
            return_mean=jnp.array(self.MEANS),
        )
        return collect_transitions(
            ppo,
            agent,
            self.TASKS,
            jax.random.key(1),
            num_tasks=2,
            num_steps=self.LENGTH * self.ENVS,
            envs_per_task=self.ENVS,
        )

    def replay(self, collected, task):
        """Reward, ending and validity float[LENGTH, ENVS] from the states and actions."""
        shape = (self.ENVS, self.LENGTH)
        states = np.asarray(collected.observation[task]).argmax(-1).reshape(shape)
        actions = np.asarray(collected.action[task]).reshape(shape)
        reward, ending, valid = np.zeros(shape), np.zeros(shape, int), np.ones(shape, bool)
        for env in range(self.ENVS):
            where, dead = 0, False
            for t in range(self.LENGTH):
                if dead:
                    valid[env, t], ending[env, t], where, dead = False, TERMINATES, 0, False
                    continue
                assert states[env, t] == where
                row = (task, where, actions[env, t])
                reward[env, t], ending[env, t] = self.TASKS.reward[row], self.TASKS.ending[row]
                where, dead = int(self.TASKS.following[row]), ending[env, t] != GOES_ON
        return reward.T, ending.T, valid.T

    def test_mask_marks_dead_steps(self, collected):
        for task in range(2):
            *_, valid = self.replay(collected, task)
            np.testing.assert_array_equal(collected.mask[task], valid.T.reshape(-1))
            assert 0 < valid.sum() < valid.size

    def test_advantages_equal_loop(self, collected):
        for task, mean in enumerate(self.MEANS):
            reward, ending, valid = self.replay(collected, task)
            value = np.full(reward.shape, mean)
            expected = advantages_by_loop(
                reward,
                value,
                value,
                ending == TERMINATES,
                ending != GOES_ON,
                CONFIG.discount,
                CONFIG.gae_lambda,
            )
            expected = np.where(valid, expected, 0.0)
            np.testing.assert_allclose(collected.advantage[task], expected.T.reshape(-1), atol=1e-5)
