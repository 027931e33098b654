"""The rollout body, and evaluation against a loop in plain Python."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.cartpole import cartpole
from pgx_jax.networks import MLP, CategoricalPolicy
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.rollout import reset_rollout, rollout, tasks_of
from tests.rl.probes import (
    CHAIN,
    GOES_ON,
    STATES,
    TERMINATES,
    TRUNCATES,
    Probe,
    chain,
    constant_reward,
    delayed_reward,
    make_ppo,
    random_params,
    stack,
    table,
)

EPISODES, HORIZON, TASKS = 2, 25, 3


@pytest.fixture(scope="module")
def setting():
    """CartPole tasks with a policy that is neither random nor constant."""
    family = cartpole(num_tasks=TASKS, num_test_tasks=1)
    policy = CategoricalPolicy((4,), 2, MLP((8,)))
    return family.environment, policy, random_params(policy, scale=2.0), family.train_tasks


def run(setting, task_index, seed=7):
    environment, policy, params, tasks = setting
    return evaluate(
        environment,
        policy,
        params,
        tasks,
        jnp.asarray(task_index),
        jax.random.key(seed),
        num_episodes=EPISODES,
        horizon=HORIZON,
        greedy=False,
    )


@partial(jax.jit, static_argnums=0)
def reset(environment, keys, tasks):
    return environment.reset(keys, tasks)


@partial(jax.jit, static_argnums=0)
def advance(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def run_by_hand(setting, task, seed=7):
    """Returns and lengths of one task's episodes, one environment and one step at a time."""
    environment, policy, params, tasks = setting
    row = tasks_of(tasks, jnp.array([task]))
    returns, lengths = [], []
    for key in jax.random.split(jax.random.fold_in(jax.random.key(seed), task), EPISODES):
        reset_key, step_key = jax.random.split(key)
        state, observation = reset(environment, reset_key[None], row)
        total = length = 0
        while length < HORIZON:
            act_key, env_key = jax.random.split(jax.random.fold_in(step_key, length))
            action = jax.random.categorical(act_key, policy.logits(params, observation[0]))
            state, step = advance(environment, env_key[None], state, action[None], row)
            observation = step.observation
            total += float(step.reward[0])
            length += 1
            if step.terminated[0] or step.truncated[0]:
                break
        returns.append(total)
        lengths.append(length)
    return returns, lengths


class TestEvaluate:
    @pytest.mark.slow
    def test_equals_python_loop(self, setting):
        result = run(setting, range(TASKS))
        by_hand = [run_by_hand(setting, task) for task in range(TASKS)]
        returns, lengths = zip(*by_hand, strict=True)
        np.testing.assert_allclose(result.returns, returns)
        assert int(result.num_steps) == np.sum(lengths)
        assert np.min(lengths) < HORIZON  # some episode does end by itself

    def test_order_and_company_of_tasks_do_not_matter(self, setting):
        together = np.asarray(run(setting, [0, 1, 2]).returns)
        reordered = np.asarray(run(setting, [2, 0, 0]).returns)
        np.testing.assert_array_equal(reordered, together[[2, 0, 0]])
        assert not np.array_equal(together, run(setting, [0, 1, 2], seed=8).returns)


class TestEvaluateProbes:
    """Returns and lengths known in advance; each episode is followed by a dead step of NaN."""

    EPISODES, HORIZON = 64, 20
    TASKS = stack(
        chain(TERMINATES),
        chain(TRUNCATES, -2.0),
        table(reward=0.5, following=0, ending=GOES_ON),  # never ends
        table(reward=1.0, following=0, ending=[GOES_ON, TERMINATES]),  # ends with action 1
    )._replace(garbage=jnp.full(4, jnp.nan))
    RETURNS = np.array([CHAIN, -2.0 * CHAIN, 0.5 * HORIZON])
    LENGTHS = np.array([CHAIN, CHAIN, HORIZON])

    def run(self, task_index=range(4), *, greedy=False, params=None):
        policy = make_ppo().policy
        return evaluate(
            Probe(dead_steps=True),
            policy,
            random_params(policy, scale=0.1) if params is None else params,  # nearly uniform
            self.TASKS,
            jnp.asarray(task_index),
            jax.random.key(1),
            num_episodes=self.EPISODES,
            horizon=self.HORIZON,
            greedy=greedy,
        )

    def check(self, result):
        returns = np.asarray(result.returns)
        known = np.repeat(self.RETURNS[:, None], self.EPISODES, axis=1)
        np.testing.assert_allclose(returns[:3], known)
        # The last task pays 1 a step.
        expected_steps = self.EPISODES * self.LENGTHS.sum() + returns[3].sum()
        assert int(result.num_steps) == expected_steps

    def test_first_episode_alone_counts_and_the_horizon_cuts(self):
        self.check(self.run())

    def test_greedy_always_takes_the_mode_and_sampling_does_not(self):
        greedy = self.run(greedy=True)
        self.check(greedy)
        policy = make_ppo().policy
        ends = policy.logits(random_params(policy, scale=0.1), jnp.eye(STATES)[0]).argmax() == 1
        np.testing.assert_array_equal(greedy.returns[3], 1.0 if ends else self.HORIZON)
        sampled = np.asarray(self.run().returns[3])
        assert len(np.unique(sampled)) > 3
        assert 1.4 < sampled.mean() < 2.8  # geometric: about 2

    def test_a_task_alone_equals_itself_among_others(self):
        alone = self.run([3])
        np.testing.assert_array_equal(alone.returns, self.run().returns[3:])
        assert int(alone.num_steps) == alone.returns.sum()

    def test_vmap_over_parameters_equals_loop(self):
        """Subsets are scored so; the policies' episodes differ in length."""
        policy = make_ppo().policy
        many = [random_params(policy, seed, scale=1.0) for seed in range(3)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *many)
        batched = jax.vmap(lambda own: self.run(params=own))(stacked)
        singly = [self.run(params=own) for own in many]
        np.testing.assert_array_equal(batched.returns, [result.returns for result in singly])
        np.testing.assert_array_equal(batched.num_steps, [result.num_steps for result in singly])
        assert len({int(result.num_steps) for result in singly}) == 3


class TestRollout:
    STEPS = 8

    @pytest.fixture(scope="class")
    def two_rollouts(self):
        ppo = make_ppo()
        tasks = stack(chain(TERMINATES, 1.5), delayed_reward(), constant_reward(0.25))
        params = random_params(ppo.policy)
        state = reset_rollout(ppo.environment, tasks, jax.random.key(1))

        num_steps = self.STEPS

        @jax.jit
        def roll(state, key):
            return rollout(ppo.environment, ppo.policy, params, state, tasks, key, num_steps)

        middle, first = roll(state, jax.random.key(2))
        _, second = roll(middle, jax.random.key(3))
        again = roll(state, jax.random.key(2))[1]
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), first, second)
        return ppo, tasks, params, first, again, joined

    def test_shapes(self, two_rollouts):
        *_, first, _, _ = two_rollouts
        assert {leaf.shape[:2] for leaf in jax.tree.leaves(first)} == {(self.STEPS, 3)}

    def test_equal_keys_equal_rollouts(self, two_rollouts):
        *_, first, again, _ = two_rollouts
        for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_goes_on_where_it_stood(self, two_rollouts):
        joined = two_rollouts[-1]
        np.testing.assert_array_equal(joined.observation[1:], joined.step.observation[:-1])

    def test_log_probabilities_are_the_policys(self, two_rollouts):
        ppo, _, params, *_, joined = two_rollouts
        logits = np.asarray(ppo.policy.logits(params, joined.observation), np.float64)
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        expected = np.log(shifted / shifted.sum(-1, keepdims=True))
        taken = np.take_along_axis(expected, joined.action[..., None], -1)[..., 0]
        np.testing.assert_allclose(joined.log_prob, taken, atol=1e-5)

    def test_rewards_and_episode_returns_replay_the_tables(self, two_rollouts):
        _, tasks, _, _, _, joined = two_rollouts
        for env in range(3):
            where, total = 0, 0.0
            for t in range(2 * self.STEPS):
                assert joined.observation[t, env].argmax() == where
                row = (env, where, joined.action[t, env])
                total += float(tasks.reward[row])
                assert joined.step.reward[t, env] == tasks.reward[row]
                ended = tasks.ending[row] != GOES_ON
                assert joined.step.done[t, env] == ended
                np.testing.assert_allclose(joined.episode_return[t, env], total if ended else 0)
                where, total = (0, 0.0) if ended else (int(tasks.following[row]), total)
