"""Rollouts, training and evaluation on environments of the host."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")

from pgx_jax.estimation import gaussian_projection, gradient_features
from pgx_jax.networks import MLP
from pgx_jax.rl import loops
from pgx_jax.rl.algorithms import PPO, PPOConfig
from pgx_jax.rl.evaluation import evaluate, evaluate_many
from pgx_jax.rl.policies import make_policy
from pgx_jax.rl.rollout import reset_rollout, rollout, tasks_of
from pgx_jax.rl.training import share_environments
from pgx_jax.rl.transitions import collect_transitions
from tests.envs.host.environments import host_environment, host_tasks, left_running, seed_of
from tests.envs.host.probes import play, tasks
from tests.rl.host import CONFIG, NOW, NUM_ENVS, NUM_STEPS, NUM_TASKS, SHARED, TASKS, make_ppo
from tests.rl.reference import advantages_by_loop


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not left_running()


def everything(ppo):
    """What all the functions of ``pgx_jax.rl`` return on one environment, and its end."""
    agent = ppo.init_agent(jax.random.key(0))
    state = ppo.init(agent, TASKS, SHARED, jax.random.key(1))
    results = {"start": state.rollout.observation}
    for update in range(2):
        state, metrics = ppo.update(state, TASKS, SHARED, jnp.float32(update / 2))
        results[f"update {update}"] = state.agent, metrics
    policy = state.agent.policy
    options = {"num_episodes": 2, "horizon": 12, "greedy": False}
    key = jax.random.key(2)
    results["evaluate"] = evaluate(
        ppo.environment, ppo.policy, policy, TASKS, jnp.arange(NUM_TASKS), key, **options
    )
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), policy, agent.policy)
    results["evaluate_many"] = evaluate_many(
        ppo.environment, ppo.policy, both, TASKS, jnp.array([[0, 1], [2, 0]]), key, **options
    )
    results["collect_transitions"] = collect_transitions(
        ppo, state.agent, TASKS, key, num_tasks=NUM_TASKS, num_steps=20, envs_per_task=3
    )
    ppo.environment.close()
    return results


def assert_equal(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("same_step", "bounds"),
    [
        (False, (-1.0, 2.0)),
        pytest.param(True, None, marks=pytest.mark.slow),
        pytest.param(True, (-1.0, 2.0), marks=pytest.mark.slow),
        pytest.param(False, None, marks=pytest.mark.slow),
    ],
)
def test_callbacks_and_python_loops_give_the_same_bits(same_step, bounds):
    table = tasks(NUM_TASKS, bounds=bounds)
    compiled = everything(make_ppo(table, same_step=same_step))
    looped = everything(make_ppo(table, same_step=same_step, loop="python"))
    assert compiled.keys() == looped.keys()
    for name, result in compiled.items():
        assert_equal(result, looped[name])


@pytest.mark.slow
def test_processes_give_the_same_bits():
    here = everything(make_ppo(tasks(NUM_TASKS)))
    assert_equal(everything(make_ppo(tasks(NUM_TASKS), vectorization="async")), here)


def roll(ppo, agent, num_steps=NUM_STEPS, seed=3):
    """A trajectory from the start, and the environments' keys at the reset."""
    env_tasks = tasks_of(TASKS, SHARED)

    @jax.jit
    def run(params, start_key, key):
        state = reset_rollout(ppo.environment, env_tasks, start_key)
        return rollout(ppo.environment, ppo.policy, params, state, env_tasks, key, num_steps)[1]

    start_key, key = jax.random.split(jax.random.key(seed))
    trajectory = run(agent.policy, start_key, key)
    loops.raise_faults(ppo.environment, trajectory)
    return jax.tree.map(np.asarray, trajectory), jax.random.split(start_key, NUM_ENVS)


@pytest.mark.parametrize("same_step", [True, False])
@pytest.mark.parametrize("truncates", [True, False])
def test_rollout_replays_plain_loops(same_step, truncates):
    table = tasks(NUM_TASKS, truncates=truncates)
    ppo = make_ppo(table, same_step=same_step)
    trajectory, keys = roll(ppo, ppo.init_agent(jax.random.key(0)))
    ppo.environment.close()
    for env, task in enumerate(np.asarray(SHARED)):
        valid = trajectory.step.valid[:, env]
        assert valid.all() == same_step
        played = play(table[task], seed_of(keys[env]), trajectory.action[valid, env])
        steps = jax.tree.map(lambda leaf, env=env, valid=valid: leaf[valid, env], trajectory)
        np.testing.assert_array_equal(steps.step.final_observation, played.final)
        np.testing.assert_array_equal(steps.step.reward, np.float32(played.reward))
        np.testing.assert_array_equal(steps.step.terminated, played.terminated)
        np.testing.assert_array_equal(steps.step.truncated, played.truncated)
        # What the policy saw: the end of the step before, or the start of an episode.
        starts = [played.first, *played.observation[:-1]]
        np.testing.assert_array_equal(steps.observation, starts)
        # Sums over whole episodes, where they end.
        total, best, progress = 0.0, -np.inf, -np.inf
        for t, done in enumerate(np.logical_or(played.terminated, played.truncated)):
            total += played.reward[t]
            best = max(best, played.success[t])
            progress = max(progress, played.final[t][1] / table[task].length)
            np.testing.assert_allclose(steps.episode_return[t], total if done else 0, rtol=1e-6)
            assert steps.episode_info["success"][t] == (best if done else 0)
            np.testing.assert_allclose(steps.episode_info["progress"][t], progress * done)
            if done:
                total, best, progress = 0.0, -np.inf, -np.inf
        dead = ~valid
        assert (trajectory.episode_return[dead, env] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("same_step", [True, False])
@pytest.mark.parametrize("truncates", [True, False])
def test_advantages_bootstrap_from_the_true_last_observation(same_step, truncates):
    ppo = make_ppo(tasks(NUM_TASKS, truncates=truncates), same_step=same_step)
    agent = ppo.init_agent(jax.random.key(0))
    agent = agent._replace(
        return_mean=jnp.array([1.0, -2.0, 0.5]), return_deviation=jnp.array([2.0, 0.5, 3.0])
    )
    trajectory, _ = roll(ppo, agent)
    advantage, value = ppo._advantages_and_values(agent, trajectory, SHARED)
    np.testing.assert_array_equal(ppo.advantages(agent, trajectory, SHARED), advantage)
    ppo.environment.close()

    def values(observation):
        """In NumPy, from the critic's raw outputs."""
        task = np.broadcast_to(SHARED, observation.shape[:2])
        raw = np.asarray(ppo.critic.value(agent.critic, observation, task), np.float64)
        mean, deviation = np.asarray(agent.return_mean), np.asarray(agent.return_deviation)
        return mean[task] + deviation[task] * raw

    step, valid = trajectory.step, trajectory.step.valid
    expected = advantages_by_loop(
        step.reward,
        values(trajectory.observation),
        values(step.final_observation),
        step.terminated,
        step.terminated | step.truncated,
        CONFIG.discount,
        CONFIG.gae_lambda,
    )
    np.testing.assert_allclose(np.asarray(advantage), np.where(valid, expected, 0), atol=2e-4)
    assert (np.asarray(value)[~valid] == 0).all()
    # The observation after an end is not what it is bootstrapped from, and that matters.
    ends = step.truncated if truncates else step.terminated
    assert ends.any()
    if truncates and same_step:
        wrong = values(step.observation)[ends] - values(step.final_observation)[ends]
        assert np.abs(wrong).max() > 1e-2
    if truncates:
        last = step.reward + CONFIG.discount * values(step.final_observation)
        last = (last - values(trajectory.observation))[ends]
        np.testing.assert_allclose(np.asarray(advantage)[ends], last, atol=2e-4)


class TestDeadSteps:
    """Steps that only reset count for nothing."""

    @pytest.fixture(scope="class")
    def collected(self):
        ppo = make_ppo(tasks(NUM_TASKS, bounds=(-1.0, 2.0)), same_step=False)
        agent = ppo.init_agent(jax.random.key(0))
        trajectory, _ = roll(ppo, agent)
        transitions = collect_transitions(
            ppo, agent, TASKS, jax.random.key(4), num_tasks=NUM_TASKS, num_steps=30, envs_per_task=2
        )
        ppo.environment.close()
        return ppo, agent, trajectory, transitions

    @staticmethod
    def spoil(trajectory):
        """The same trajectory with rubbish in its dead steps."""
        dead = ~trajectory.step.valid

        def rubbish(leaf):
            if leaf.dtype != np.float32:
                return leaf
            shape = dead.shape + (1,) * (leaf.ndim - 2)
            return np.where(dead.reshape(shape), np.float32(1e6), leaf)

        step = trajectory.step
        return trajectory._replace(
            observation=rubbish(trajectory.observation),
            action=rubbish(trajectory.action),
            log_prob=rubbish(trajectory.log_prob),
            step=step._replace(
                reward=rubbish(step.reward), final_observation=rubbish(step.final_observation)
            ),
        )

    @pytest.mark.slow
    def test_ppo_learns_nothing_from_them(self, collected):
        ppo, agent, trajectory, _ = collected
        _, batch = ppo._make_batch(agent, trajectory, SHARED)
        valid = trajectory.step.valid.reshape(-1)
        assert 0 < (~valid).sum() < len(valid)
        np.testing.assert_array_equal(batch.weight, valid.astype(np.float32))
        optimiser = ppo.init(agent, TASKS, SHARED, jax.random.key(0)).optimiser
        ppo.environment.close()
        learn = partial(ppo.learn, agent, optimiser)
        one = learn(trajectory, SHARED, jax.random.key(7), NOW)
        other = learn(self.spoil(trajectory), SHARED, jax.random.key(7), NOW)
        assert_equal(one, other)
        # Rubbish in steps that count does change it.
        alive = trajectory._replace(step=trajectory.step._replace(valid=~trajectory.step.valid))
        spoilt = self.spoil(alive)
        spoilt = spoilt._replace(step=spoilt.step._replace(valid=trajectory.step.valid))
        changed = learn(spoilt, SHARED, jax.random.key(7), NOW)
        assert any(
            not np.array_equal(left, right)
            for left, right in zip(
                jax.tree.leaves(one[0]), jax.tree.leaves(changed[0]), strict=True
            )
        )

    def test_transitions_mask_them(self, collected):
        *_, transitions = collected
        mask = np.asarray(transitions.mask)
        # Episodes of 4, 5 and 6 steps, each followed by a dead one, in two environments a task.
        for task, length in enumerate((4, 5, 6)):
            dead = np.arange(1, 16) % (length + 1) == 0
            np.testing.assert_array_equal(mask[task], np.tile(~dead, 2))
        assert not np.asarray(transitions.advantage)[~mask].any()

    def test_gradient_features_leave_them_out(self, collected):
        ppo, agent, _, transitions = collected
        projection = gaussian_projection(jax.random.key(0), agent.policy, dim=8)
        features = partial(
            gradient_features, ppo.policy.log_prob, agent.policy, projection=projection
        )
        masked = np.asarray(features(transitions=transitions))
        mask = np.asarray(transitions.mask)
        everything = np.asarray(features(transitions=transitions._replace(mask=None)))
        assert not masked[~mask].any()
        np.testing.assert_array_equal(masked[mask], everything[mask])
        assert np.abs(everything[~mask]).min(axis=1).max() > 0  # else this would show nothing


class TestEvaluate:
    @pytest.mark.parametrize("same_step", [True, False])
    def test_equals_plain_loops(self, same_step):
        """First episodes; those of 4, 5 and 6 steps end by themselves, the horizon cuts at 5."""
        table = tasks(NUM_TASKS)
        ppo = make_ppo(table, same_step=same_step)
        params = ppo.policy.init(jax.random.key(5))
        key = jax.random.key(6)
        found = evaluate(
            ppo.environment, ppo.policy, params, TASKS, jnp.arange(NUM_TASKS), key,
            num_episodes=2, horizon=5,
        )  # fmt: skip
        ppo.environment.close()
        lengths = [4, 5, 5]
        assert int(found.num_steps) == 2 * sum(lengths)
        for task, length in enumerate(lengths):
            keys = jax.random.split(jax.random.fold_in(key, task), 2)
            for episode in range(2):
                seed = seed_of(jax.random.split(keys[episode])[0])
                # Most probable actions, one by one.
                actions = []
                for t in range(length):
                    played = play(table[task], seed, actions)
                    seen = played.observation[t - 1] if t else played.first
                    actions.append(int(ppo.policy.mode(params, jnp.asarray(seen))))
                played = play(table[task], seed, actions)
                np.testing.assert_allclose(found.returns[task, episode], sum(played.reward))
                assert found.info["success"][task, episode] == max(played.success) == 1
                np.testing.assert_allclose(
                    found.info["progress"][task, episode], length / table[task].length
                )
        assert found.metric("success") is found.info["success"]

    def test_ends_with_the_longest_episode(self):
        taken = []
        environment = host_environment(tasks(NUM_TASKS), made=taken)
        policy = make_policy(environment, MLP((4,)))
        evaluate(
            environment, policy, policy.init(jax.random.key(0)), TASKS, jnp.arange(NUM_TASKS),
            jax.random.key(0), num_episodes=1, horizon=1000,
        )  # fmt: skip
        steps = [one.env.unwrapped.taken for one in taken[0]._batch.env.envs]
        environment.close()
        assert steps == [6, 6, 6]


class TestUpdate:
    @pytest.mark.slow
    def test_a_second_update_does_not_compile(self):
        ppo = make_ppo(tasks(NUM_TASKS, bounds=(-1.0, 2.0)))
        agent = ppo.init_agent(jax.random.key(0))
        state = ppo.init(agent, TASKS, SHARED, jax.random.key(1))
        state, _ = ppo.update(state, TASKS, SHARED, NOW)
        compiled = PPO._compiled_update._cache_size()
        for _ in range(2):
            state, metrics = ppo.update(state, TASKS, SHARED, NOW)
        assert PPO._compiled_update._cache_size() == compiled
        ppo.environment.close()
        # 13 steps a time: the episodes that ended in the third round of them.
        lengths = np.array([4, 5, 6])
        ended = 39 // lengths - 26 // lengths
        np.testing.assert_array_equal(metrics.episode_count, 2 * ended)
        np.testing.assert_array_equal(metrics.info_sum["success"], 2 * ended)

    @pytest.mark.slow
    def test_it_learns_through_the_bridge(self):
        """Action 1 pays 0.5 more than action 0, in every state."""
        environment = host_environment(tasks(1), info_names=())
        config = PPOConfig(num_envs=4, num_steps=32, learning_rate=1e-2, discount=0.5)
        ppo = config.make(environment, MLP((8,)), 1)
        index = share_environments(jnp.arange(1), 4)
        state = ppo.init(ppo.init_agent(jax.random.key(0)), host_tasks(1), index, jax.random.key(1))
        for _ in range(15):
            state, _ = ppo.update(state, host_tasks(1), index, NOW)
        environment.close()
        shares = jax.nn.softmax(ppo.policy.logits(state.agent.policy, state.rollout.observation))
        assert float(shares[:, 1].min()) > 0.8
