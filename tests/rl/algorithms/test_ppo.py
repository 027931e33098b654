"""PPO on probes with known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pgx_jax.networks import MLP
from pgx_jax.rl.algorithms import ALGORITHMS, PPO, PPOConfig
from pgx_jax.rl.training import share_environments
from tests.rl.probes import (
    ACTIONS,
    CHAIN,
    CONFIG,
    STATES,
    TERMINATES,
    TRUNCATES,
    Probe,
    chain,
    constant_reward,
    cut_short,
    delayed_reward,
    make_agent,
    make_ppo,
    pays_action,
    stack,
    true_values,
)

PER_TASK = CONFIG.num_envs // 2
BOTH = share_environments(jnp.arange(2), CONFIG.num_envs)
ONLY_FIRST = share_environments(jnp.array([0]), CONFIG.num_envs)
ONLY_SECOND = share_environments(jnp.array([1]), CONFIG.num_envs)
NOW = jnp.zeros(())


def start(ppo, tasks, task_index=BOTH, seed=0):
    return ppo.init(make_agent(ppo, seed), tasks, task_index, jax.random.key(seed))


def train(ppo, tasks, task_index=BOTH, num_updates=60, seed=0):
    """The agent, and mean returns float[n] of the last ten updates."""
    state = start(ppo, tasks, task_index, seed)
    history = []
    for update in range(num_updates):
        state, metrics = ppo.update(state, tasks, task_index, jnp.float32(update / num_updates))
        history.append(metrics)
    total = sum(np.asarray(m.return_sum) for m in history[-10:])
    count = sum(np.asarray(m.episode_count) for m in history[-10:])
    with np.errstate(invalid="ignore"):
        return state.agent, total / count


def probabilities(ppo, agent):
    """pi(a|s), float[STATES, ACTIONS]."""
    logits = ppo.policy.logits(agent.policy, jnp.eye(STATES))
    return np.asarray(jax.nn.softmax(logits), np.float64)


def values(ppo, agent, task):
    """V of every state in reward units."""
    index = jnp.full(STATES, task)
    raw = ppo.critic.value(agent.critic, jnp.eye(STATES), index)
    return np.asarray(agent.return_mean[task] + agent.return_deviation[task] * raw)


@pytest.fixture(scope="module")
def ppo():
    """The algorithm, its update compiled."""
    ppo = make_ppo()
    train(ppo, stack(constant_reward(0.0), constant_reward(0.0)), num_updates=1)
    return ppo


@pytest.mark.slow
def test_critic_learns_each_tasks_constant(ppo):
    agent, returns = train(ppo, stack(constant_reward(2.0), constant_reward(-1.0)), num_updates=30)
    np.testing.assert_allclose(returns, [2.0, -1.0], atol=1e-5)
    assert values(ppo, agent, 0)[0] == pytest.approx(2.0, abs=0.02)
    assert values(ppo, agent, 1)[0] == pytest.approx(-1.0, abs=0.02)


def test_policy_learns_rewarded_action(ppo):
    agent, returns = train(ppo, stack(pays_action(1), pays_action(1)))
    assert probabilities(ppo, agent)[0, 1] > 0.97
    assert returns.min() > 0.95


def test_delay_is_discounted_once(ppo):
    tasks = stack(delayed_reward(), delayed_reward())
    agent, _ = train(ppo, tasks)
    assert probabilities(ppo, agent)[0, 1] > 0.97
    learned = values(ppo, agent, 0)
    assert learned[0] == pytest.approx(CONFIG.discount, abs=0.06)
    assert learned[1] == pytest.approx(1.0, abs=0.06)


def test_truncation_bootstraps_and_termination_does_not(ppo):
    probes = (chain(TRUNCATES), chain(TERMINATES))
    agent, _ = train(ppo, stack(*probes), num_updates=120)
    even = np.full((STATES, ACTIONS), 1 / ACTIONS)
    discount = CONFIG.discount
    endless, finite = (true_values(probe, even, discount)[:CHAIN] for probe in probes)
    np.testing.assert_allclose(endless, 1 / (1 - discount))
    np.testing.assert_allclose(finite, [1 + discount + discount**2, 1 + discount, 1])
    np.testing.assert_allclose(values(ppo, agent, 0)[:CHAIN], endless, atol=0.25)
    np.testing.assert_allclose(values(ppo, agent, 1)[:CHAIN], finite, atol=0.1)


def test_bootstraps_from_where_the_episode_stood_not_from_its_reset(ppo):
    probes = (cut_short(TRUNCATES), cut_short(TERMINATES))
    agent, _ = train(ppo, stack(*probes), num_updates=120)
    even = np.full((STATES, ACTIONS), 1 / ACTIONS)
    for task, probe in enumerate(probes):
        expected = true_values(probe, even, CONFIG.discount)[:2]
        np.testing.assert_allclose(values(ppo, agent, task)[:2], expected, atol=0.25)
    # From the reset observation, state 0, the first task would be worth 2.2 and 2.8.
    np.testing.assert_allclose(true_values(probes[0], even, CONFIG.discount)[:2], [4, 5])


def test_opposite_tasks_are_solved_apart_and_not_together(ppo):
    tasks = stack(pays_action(0), pays_action(1))
    agent, together = train(ppo, tasks)
    assert together.max() < 0.8
    chance = probabilities(ppo, agent)[0]
    assert chance.min() > 0.2
    assert together.sum() == pytest.approx(1.0, abs=0.05)  # what one task gains the other loses
    for task, only in enumerate((ONLY_FIRST, ONLY_SECOND)):
        agent, alone = train(ppo, tasks, only)
        assert alone[task] > 0.95
        assert np.isnan(alone[1 - task])  # no episode of the task left out
        assert probabilities(ppo, agent)[0, task] > 0.97


def test_metrics_equal_hand_count_across_updates(ppo):
    tasks = stack(chain(TERMINATES, reward=1.0), chain(TRUNCATES, reward=-2.0))
    state = start(ppo, tasks)
    for update in range(3):
        state, metrics = ppo.update(state, tasks, BOTH, NOW)
        # Episodes of three steps run on from one update into the next.
        before, after = update * CONFIG.num_steps, (update + 1) * CONFIG.num_steps
        ended = PER_TASK * (after // CHAIN - before // CHAIN)
        assert np.issubdtype(metrics.episode_count.dtype, np.integer)
        np.testing.assert_array_equal(metrics.episode_count, [ended, ended])
        np.testing.assert_array_equal(metrics.return_sum, [CHAIN * ended, -2 * CHAIN * ended])
        assert 0 < float(metrics.diagnostics["entropy"]) <= np.log(ACTIONS) + 1e-6
        assert 0 <= float(metrics.diagnostics["ratio_clipped"]) <= 1


def test_fresh_agent(ppo):
    shapes = jax.eval_shape(ppo.init_agent, jax.random.key(0))
    expected = jax.eval_shape(lambda: make_agent(ppo))
    assert jax.tree.structure(shapes) == jax.tree.structure(expected)
    assert [s.shape for s in jax.tree.leaves(shapes)] == [
        s.shape for s in jax.tree.leaves(expected)
    ]
    mean, deviation = jax.jit(lambda key: ppo.init_agent(key)[2:])(jax.random.key(0))
    np.testing.assert_array_equal(mean, [0.0, 0.0])
    np.testing.assert_array_equal(deviation, [0.0, 0.0])  # not seen yet


def test_value_statistics_follow_returns(ppo):
    # One-step episodes: the critic's target is the reward itself, whatever the critic says.
    tasks = stack(pays_action(1), constant_reward(3.0))
    state = start(ppo, tasks)
    mean = deviation = None
    for update in range(3):
        state, metrics = ppo.update(state, tasks, BOTH, NOW)
        share = float(metrics.return_sum[0] / metrics.episode_count[0])
        new_mean, new_deviation = (
            np.array([share, 3.0]),
            np.array([np.sqrt(share * (1 - share)), 1e-3]),
        )
        old = CONFIG.value_decay if update else 0.0  # the first update starts from nothing
        mean = new_mean if not update else old * mean + (1 - old) * new_mean
        deviation = new_deviation if not update else old * deviation + (1 - old) * new_deviation
        np.testing.assert_allclose(state.agent.return_mean, mean, atol=1e-5)
        np.testing.assert_allclose(state.agent.return_deviation, deviation, atol=1e-5)


def test_tasks_left_out_keep_their_statistics(ppo):
    tasks = stack(constant_reward(2.0), constant_reward(3.0))
    state = start(ppo, tasks, ONLY_SECOND)
    agent = state.agent._replace(
        return_mean=jnp.array([5.0, 0.0]), return_deviation=jnp.array([4.0, 0.0])
    )
    state, metrics = ppo.update(state._replace(agent=agent), tasks, ONLY_SECOND, NOW)
    np.testing.assert_allclose(state.agent.return_mean, [5.0, 3.0], atol=1e-5)
    np.testing.assert_allclose(state.agent.return_deviation, [4.0, 1e-3], atol=1e-5)
    steps = CONFIG.num_envs * CONFIG.num_steps
    np.testing.assert_array_equal(metrics.episode_count, [0, steps])
    np.testing.assert_array_equal(metrics.return_sum, [0, 3 * steps])


def test_reward_scale_of_a_task_does_not_move_the_policy(ppo):
    tasks = stack(pays_action(0), pays_action(1))
    louder = tasks._replace(reward=tasks.reward * jnp.array([1.0, 1024.0])[:, None, None])
    agents = [ppo.update(start(ppo, t), t, BOTH, NOW)[0].agent for t in (tasks, louder)]
    # Advantages are standardised per task, so one update is the same but for the critic's share
    # of the first advantages.
    even, loud = (probabilities(ppo, agent)[0, 1] for agent in agents)
    assert loud == pytest.approx(even, abs=0.05)


def test_second_update_does_not_compile(ppo):
    tasks = stack(pays_action(0), pays_action(1))
    state, _ = ppo.update(start(ppo, tasks), tasks, BOTH, jnp.float32(0.0))
    compiled = PPO._compiled_update._cache_size()
    assert compiled > 0
    state, _ = ppo.update(state, tasks, BOTH, jnp.float32(0.5))
    make_ppo().update(state, tasks, ONLY_FIRST, jnp.float32(1.0))  # an equal PPO is the same one
    assert PPO._compiled_update._cache_size() == compiled


def test_equal_keys_equal_results(ppo):
    tasks = stack(pays_action(0), pays_action(1))

    def after_two_updates(seed):
        state = start(ppo, tasks, seed=0)._replace(key=jax.random.key(seed))
        for _ in range(2):
            state, metrics = ppo.update(state, tasks, BOTH, NOW)
        return jax.tree.leaves((state.agent, metrics))

    first, again, other = (after_two_updates(seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_learning_rate_falls_to_a_tenth(ppo):
    tasks = stack(pays_action(1), pays_action(1))
    state = start(ppo, tasks)

    def moved(progress):
        policy = ppo.update(state, tasks, BOTH, jnp.float32(progress))[0].agent.policy
        gaps = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), policy, state.agent.policy)
        return max(float(gap) for gap in jax.tree.leaves(gaps))

    # Gradients agree in sign here, so every Adam step moves some weight by about the rate.
    steps = CONFIG.num_epochs * CONFIG.num_minibatches
    assert moved(1.0) == pytest.approx(0.1 * CONFIG.learning_rate * steps, rel=0.2)
    assert moved(0.8) / moved(1.0) == pytest.approx((1 - 0.9 * 0.8) / 0.1, rel=0.1)


@pytest.mark.slow  # a second update to compile
class TestDeadSteps:
    """Steps that only reset: whatever they hold must change nothing."""

    @pytest.fixture(scope="class")
    def dead(self):
        return make_ppo(dead_steps=True)

    @staticmethod
    def with_garbage(tasks, garbage):
        return tasks._replace(garbage=jnp.full(2, garbage, jnp.float32))

    @pytest.mark.parametrize("garbage", [-1e3, 1e30, np.inf, np.nan])
    def test_garbage_changes_nothing(self, dead, garbage):
        tasks = stack(delayed_reward(), chain(TRUNCATES))
        results = []
        for filling in (0.0, garbage):
            filled = self.with_garbage(tasks, filling)
            state = start(dead, filled)
            for _ in range(2):
                state, metrics = dead.update(state, filled, BOTH, NOW)
            results.append(jax.tree.leaves((state.agent, metrics)))
        for clean, dirty in zip(*results, strict=True):
            assert np.isfinite(dirty).all()
            np.testing.assert_array_equal(clean, dirty)

    def test_episodes_are_counted_without_dead_steps(self, dead):
        tasks = self.with_garbage(stack(chain(TERMINATES), chain(TRUNCATES, -2.0)), 100.0)
        state = start(dead, tasks)
        for update in range(3):
            state, metrics = dead.update(state, tasks, BOTH, NOW)
            # Three steps and a dead one; an episode ends with its third.
            ends = [t for t in range(3 * CONFIG.num_steps) if t % (CHAIN + 1) == CHAIN - 1]
            ended = PER_TASK * sum(t // CONFIG.num_steps == update for t in ends)
            np.testing.assert_array_equal(metrics.episode_count, [ended, ended])
            np.testing.assert_array_equal(metrics.return_sum, [CHAIN * ended, -2 * CHAIN * ended])

    def test_learns_through_them(self, dead):
        tasks = self.with_garbage(stack(delayed_reward(), delayed_reward()), -50.0)
        agent, returns = train(dead, tasks)
        assert returns.min() > 0.95
        assert values(dead, agent, 0)[0] == pytest.approx(CONFIG.discount, abs=0.06)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0; it must be at least 1"),
        ({"num_envs": 2, "num_steps": 2, "num_minibatches": 5}, "num_minibatches is 5"),
        ({"discount": 1.5}, r"discount is 1\.5; it must be between 0 and 1"),
        ({"gradients": "pcgrads"}, 'gradient combiner "pcgrads"; did you mean "pcgrad"'),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)


class TestPCGrad:
    """The same probes, with a gradient a task."""

    @pytest.fixture(scope="class")
    def surgeon(self):
        return make_ppo(config=dataclasses.replace(CONFIG, gradients="pcgrad"))

    @pytest.mark.slow
    def test_learns_the_delayed_and_the_immediate_reward(self, surgeon):
        agent, returns = train(surgeon, stack(delayed_reward(), pays_action(1)))
        assert returns.min() > 0.95
        assert probabilities(surgeon, agent)[0, 1] > 0.97
        assert values(surgeon, agent, 0)[0] == pytest.approx(CONFIG.discount, abs=0.06)

    def test_a_task_alone_is_trained_as_with_the_mean(self, surgeon, ppo):
        """Tasks that are left out have no say, and one gradient has no conflict."""
        tasks = stack(pays_action(0), pays_action(1))
        mean, alone = (
            each.update(start(each, tasks, ONLY_SECOND), tasks, ONLY_SECOND, NOW)[0].agent
            for each in (ppo, surgeon)
        )
        for one, other in zip(jax.tree.leaves(mean), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)

    def test_second_update_does_not_compile_and_orders_are_fresh(self, surgeon):
        tasks = stack(pays_action(0), pays_action(1))
        state, metrics = surgeon.update(start(surgeon, tasks), tasks, BOTH, NOW)
        compiled = PPO._compiled_update._cache_size()
        after, _ = surgeon.update(state, tasks, BOTH, NOW)
        assert PPO._compiled_update._cache_size() == compiled
        keys = [
            jax.random.key_data(optax.tree_utils.tree_get(one.optimiser[0], "PCGradState").key)
            for one in (state, after)
        ]
        assert not np.array_equal(*keys)
        assert np.isfinite(list(metrics.diagnostics.values())).all()


def test_it_is_an_algorithm_by_name():
    settings = ALGORITHMS["ppo"]
    assert settings == PPOConfig()
    assert ALGORITHMS.name_of(settings) == settings.name == "ppo"
    made = settings.make(Probe(), MLP((16,)), 2)
    assert (made.num_envs, made.steps_per_update) == (160, 160 * 64)
    agent = make_agent(made)
    assert made.policy_params(agent) is agent.policy
    other = made.with_policy_params(agent, "other")
    assert other.policy == "other"
    assert other.critic is agent.critic
