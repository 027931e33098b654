"""Meta-World's scripted experts through the adapter, and what is learnt from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.families import make_family
from pgx_jax.envs.metaworld.families import EPISODE_STEPS, metaworld_family, metaworld_mt10
from pgx_jax.envs.metaworld.goals import goal_table
from pgx_jax.envs.metaworld.observation import ACTION_SIZE, decode
from pgx_jax.envs.metaworld.tasks import MT10
from tests.envs.metaworld.probes import BACKENDS, keys_of, needs

GOALS = 10  # a task, where experts are compared


@pytest.fixture(params=BACKENDS)
def backend(request):
    return needs(request.param)


@pytest.fixture(scope="module")
def success_in_metaworld_itself():
    """Of its experts on ``GOALS`` goals a task of MT10, by a plain loop over the package."""
    from pgx_jax.envs.metaworld.experts import expert_actions, make_experts
    from pgx_jax.envs.metaworld.package import make_environment, set_goal

    needs("metaworld")
    rows = goal_table(MT10, 10 * GOALS, seed=0)[10:]
    succeeded = np.zeros(len(rows))
    for index, row in enumerate(rows):
        env, expert = make_environment(row.environment), make_experts([row.environment])
        set_goal(env, row.environment, int(row.seeds[0]))
        observation, _ = env.reset()
        for _ in range(300):
            action = expert_actions(expert, observation[None])[0]
            observation, _, _, _, info = env.step(action)
            if info["success"]:
                succeeded[index] = 1.0
                break
        env.close()
    return succeeded


class TestExperts:
    def test_succeed_through_the_adapter(self, backend):
        from pgx_jax.envs.metaworld.experts import demonstrate

        family = metaworld_family("two", ["drawer-close-v3", "reach-v3"], 2, 1, backend=backend)
        shown = demonstrate(family, jax.random.key(0), num_episodes=2, num_steps=100, noise=0.0)
        assert shown.observation.shape == (2, 2, 100, 39)
        assert shown.action.shape == (2, 2, 100, ACTION_SIZE)
        np.testing.assert_array_equal(shown.success, 1.0)
        assert (abs(shown.action) <= 1).all()
        assert (shown.returns > 200).all()
        family.close()

    def test_rounds_are_different_episodes(self, monkeypatch):
        from pgx_jax.envs.metaworld import experts as metaworld_experts

        family = metaworld_family("two", MT10[:2], 2, 1, backend=needs("envpool"))
        monkeypatch.setattr(metaworld_experts, "_MAX_ENVS", 4)
        shown = metaworld_experts.demonstrate(
            family, jax.random.key(0), num_episodes=5, num_steps=2
        )
        assert shown.observation.shape == (2, 5, 2, 39)
        assert shown.returns.shape == (2, 5)
        starts = shown.observation[:, :, 0]
        for task in (0, 1):
            # Goals are drawn with replacement: some of 50, not the same ones again.
            assert not np.array_equal(starts[task, :2], starts[task, 2:4])
            assert len(np.unique(starts[task], axis=0)) > 2
        family.close()

    def test_are_shown_as_policies_see_them(self):
        family = make_family("metaworld-mt10", num_tasks=2, backend=needs("envpool"))
        shown = family.experts(family, jax.random.key(0), num_episodes=3, num_steps=2, noise=0.0)
        plain = family.plain.experts(
            family.plain, jax.random.key(0), num_episodes=3, num_steps=2, noise=0.0
        )
        np.testing.assert_array_equal(shown.observation["observation"], plain.observation)
        assert shown.observation["task"].shape == (2, 3, 2, 2)
        for task, row in enumerate(np.eye(2)):
            assert (shown.observation["task"][task] == row).all()
        np.testing.assert_array_equal(shown.action, plain.action)
        family.close()

    def test_labels_are_the_experts_own_without_the_noise(self):
        backend = needs("envpool")
        from pgx_jax.envs.metaworld.experts import demonstrate, expert_actions, make_experts

        family = metaworld_family("one", ["reach-v3"], 1, 1, backend=backend)
        quiet, loud = (
            demonstrate(family, jax.random.key(0), num_episodes=2, num_steps=30, noise=noise)
            for noise in (0.0, 0.5)
        )
        np.testing.assert_array_equal(quiet.observation[:, :, 0], loud.observation[:, :, 0])
        assert not np.allclose(quiet.observation[:, :, -1], loud.observation[:, :, -1], atol=1e-3)
        seen = decode(loud.observation[0].reshape(60, -1))
        np.testing.assert_allclose(
            loud.action[0].reshape(60, -1),
            expert_actions(make_experts(["reach-v3"] * 60), seen),
            atol=1e-5,
        )
        family.close()

    @pytest.mark.slow
    def test_reach_the_success_of_metaworld_itself_in_all_tasks_of_mt10(
        self, backend, success_in_metaworld_itself
    ):
        """On the same goals."""
        from pgx_jax.envs.metaworld.experts import expert_actions, make_experts

        expected = success_in_metaworld_itself
        family = metaworld_mt10(num_test_tasks=10 * GOALS, backend=backend)
        environment, tasks = family.environment, family.test_tasks
        experts, keys = make_experts(MT10 * GOALS), keys_of(0, 10 * GOALS)
        step, reached = jax.jit(environment.step), np.zeros(10 * GOALS)
        state, observation = environment.reset(keys, tasks)
        for _ in range(300):
            action = jnp.asarray(expert_actions(experts, decode(observation)))
            state, result = step(keys, state, action, tasks)
            observation = result.observation
            reached = np.maximum(reached, np.asarray(result.info["success"]))
        environment.check()
        family.close()
        gap = (reached - expected).reshape(GOALS, 10).mean(axis=0)
        assert expected.reshape(GOALS, 10).mean(axis=0).min() > 0.5
        assert abs(gap).max() < 0.1 + 1e-6

    @pytest.mark.slow
    def test_a_clone_of_them_masters_mt10(self):
        """The warm start: experts, cloning, greedy policy; 8 episodes a task."""
        from pgx_jax.rl.cloning import clone
        from pgx_jax.rl.evaluation import evaluate
        from pgx_jax.rl.rollout import make_policy

        family = make_family("metaworld-mt10", backend=needs("envpool"))
        shown = family.experts(family, jax.random.key(0), num_episodes=20)
        policy = make_policy(family.environment, (64, 64, 64))
        params, _ = clone(
            policy,
            policy.init(jax.random.key(1)),
            jax.tree.map(
                lambda leaf: jnp.asarray(leaf.reshape(-1, leaf.shape[-1])), shown.observation
            ),
            jnp.asarray(shown.action.reshape(-1, ACTION_SIZE)),
            jax.random.key(2),
        )
        result = evaluate(
            family.environment,
            policy,
            params,
            family.train_tasks,
            jnp.arange(10),
            jax.random.key(3),
            num_episodes=8,
            horizon=EPISODE_STEPS,
        )
        assert result.metric("success").mean() > 0.8
        family.close()
