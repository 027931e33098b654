"""Meta-World's two backends against each other, in Meta-World's own units."""

import numpy as np
import pytest

from pgx_jax.envs.metaworld.families import backend_maker
from pgx_jax.envs.metaworld.tasks import MT10, MT50
from tests.envs.metaworld.probes import BACKENDS, needs, needs_both, random_actions


@pytest.fixture(params=BACKENDS)
def backend(request):
    return needs(request.param)


class TestBackends:
    """Three tasks of different kinds; all of them in the slow tests."""

    tasks = ("reach-v3", "drawer-close-v3", "push-v3")

    def test_goals_are_drawn_within_the_ranges_and_apart(self):
        needs("metaworld")
        from pgx_jax.envs.metaworld.package import draw_goal

        low, high = np.array([-0.1, 0.6, 0.02]), np.array([0.1, 0.7, 0.03])
        drawn = np.array([draw_goal("window-open-v3", low, high, seed) for seed in range(2000)])
        assert (drawn >= low).all()
        assert (drawn <= high).all()
        np.testing.assert_allclose(drawn.mean(axis=0), (low + high) / 2, atol=0.003)
        low, high = np.tile(low, 2), np.tile(high, 2)
        pairs = np.array([draw_goal("push-v3", low, high, seed) for seed in range(50)])
        assert (np.linalg.norm(pairs[:, :2] - pairs[:, 3:5], axis=1) >= 0.15).all()

    def differences(self, names, goals, steps):
        """Of observations and rewards under the same actions from the same goals."""
        needs_both()
        count = len(names) * goals
        seeds = np.random.default_rng(3).integers(2**31, size=count)
        batches = [backend_maker(backend)(names * goals) for backend in BACKENDS]
        first, second = (batch.reset(seeds) for batch in batches)
        np.testing.assert_allclose(first[:, -3:], second[:, -3:], atol=1e-4)
        np.testing.assert_allclose(first[:, :3], second[:, :3], atol=1e-3)
        gaps, rewards = [], []
        # Not towards the object, which is below: contacts amplify rounding.
        for action in random_actions(steps, count):
            action[:, 2] = abs(action[:, 2])
            one, other = (batch.step(action) for batch in batches)
            gaps.append(abs(one.observation - other.observation).max(axis=1))
            rewards.append(abs(one.reward - other.reward))
        for batch in batches:
            batch.close()
        # The second observation of an episode still holds the first one.
        return np.array(gaps)[1:].reshape(-1, goals, len(names)), np.array(rewards)

    def test_agree_from_the_same_goal(self):
        gaps, rewards = self.differences(self.tasks, goals=2, steps=40)
        assert gaps.max() < 5e-3
        assert rewards.max() < 0.01
        assert np.median(rewards) < 1e-5

    @pytest.mark.slow
    def test_agree_in_all_tasks_of_mt10(self):
        gaps, rewards = self.differences(MT10, goals=3, steps=120)
        assert np.quantile(gaps, 0.9) < 5e-3
        assert np.quantile(rewards, 0.9) < 0.01
        assert np.median(rewards) < 1e-5

    @pytest.mark.slow
    def test_have_the_same_goals_in_all_tasks_of_mt50(self):
        needs_both()
        seeds = np.random.default_rng(1).integers(2**31, size=100)
        names = MT50 * 2
        first, second = (backend_maker(backend)(names).reset(seeds) for backend in BACKENDS)
        np.testing.assert_allclose(first[:, -3:], second[:, -3:], atol=1e-4)

    def test_reward_is_v2(self, backend):
        """The package's reach-v3: 10 within 5 cm of the goal, and 10 / (1 + 9 d²/m²) beyond."""
        batch = backend_maker(backend)(["reach-v3"])
        observation = batch.reset(np.array([5]))
        goal, radius = observation[0, -3:], 0.05
        margin = np.linalg.norm(np.array([0, 0.6, 0.2]) - goal)
        for action in random_actions(20, 1):
            step = batch.step(action)
            # The fingers' middle is 4.5 cm below the hand, give or take the wrist's tilt.
            fingers = step.observation[0, :3] - [0, 0, 0.045]
            beyond = max(np.linalg.norm(fingers - goal) - radius, 0) / margin
            assert step.reward[0] == pytest.approx(10 / (1 + 9 * beyond**2), abs=0.1)
        batch.close()
