"""Highway: the two simulators agree, and every parameter changes what it should in both."""

import importlib

import numpy as np
import pytest

from pgx_jax.envs.highway import UNMODIFIED, HighwayMaker
from tests.envs.highway_drives import (
    ALONE,
    FASTER,
    IDLE,
    LIMIT,
    MODULES,
    PRESENCE,
    RIGHT,
    SLOWER,
    VX,
    X,
    Y,
    drive,
    needs,
    random_actions,
)

gymnasium = pytest.importorskip("gymnasium")


@pytest.fixture(params=MODULES)
def backend(request):
    return needs(request.param)


def expected_reward(task, speed, lane):
    """highway-env's formula for a vehicle that has not crashed, from its documentation."""
    task = {**UNMODIFIED, **task}
    low, high = task["reward_speed_low"], task["reward_speed_high"]
    share = np.clip((speed - low) / (high - low), 0, 1)
    right = lane / max(task["lanes_count"] - 1, 1)
    weights = task["high_speed_reward"], task["right_lane_reward"]
    return (1 + weights[0] * share + weights[1] * right) / (1 + sum(weights))


REWARD_TASKS = [
    {},
    {"reward_speed_low": 22.0, "reward_speed_high": 40.0},
    {"reward_speed_low": 30.0, "reward_speed_high": 20.0},
    {"high_speed_reward": 1.0},
    {"right_lane_reward": 1.0},
    {"high_speed_reward": 0.05, "right_lane_reward": 0.9, "lanes_count": 4},
]


class TestParameters:
    @pytest.mark.parametrize(("action", "speed"), [(FASTER, 30.0), (SLOWER, 20.0), (IDLE, 25.0)])
    def test_reward(self, backend, action, speed):
        """Alone on the road, at a constant speed in the outer lane."""
        tasks = [{**ALONE, **task} for task in REWARD_TASKS]
        actions = [action] * 12 + [RIGHT] * 6
        _, result = drive(tasks, actions, backend)
        last = result.observation[-1, :, 0]
        np.testing.assert_allclose(last[:, VX] * 80, speed, atol=0.01)
        for index, task in enumerate(tasks):
            lanes = {**UNMODIFIED, **task}["lanes_count"]
            assert last[index, Y] * lanes == pytest.approx(lanes - 1, abs=1e-3)
            expected = expected_reward(task, speed, lanes - 1)
            assert result.reward[-1, index] == pytest.approx(expected, abs=1e-3)

    def test_reward_speed_range_can_be_reversed(self, backend):
        tasks = [
            {**ALONE, "right_lane_reward": 0.0},
            {
                **ALONE,
                "right_lane_reward": 0.0,
                "reward_speed_low": 30.0,
                "reward_speed_high": 20.0,
            },
        ]
        fast = drive(tasks, [FASTER] * 10, backend)[1].reward[-1]
        slow = drive(tasks, [SLOWER] * 10, backend)[1].reward[-1]
        np.testing.assert_allclose(fast, [1.0, 1 / 1.4], atol=1e-3)
        np.testing.assert_allclose(slow, [1 / 1.4, 1.0], atol=1e-3)

    @pytest.mark.parametrize("lanes", [2, 3, 4])
    def test_lanes(self, backend, lanes):
        first, _ = drive([{"lanes_count": lanes}], [IDLE], backend, copies=12)
        seen = first[:, 0, Y] * lanes
        np.testing.assert_allclose(seen, seen.round(), atol=1e-5)
        assert set(seen.round().astype(int)) <= set(range(lanes))
        _, result = drive([{**ALONE, "lanes_count": lanes}], [RIGHT] * 10, backend)
        assert result.observation[-1, 0, 0, Y] * lanes == pytest.approx(lanes - 1, abs=1e-3)

    @pytest.mark.parametrize("count", [0, 2, 6])
    def test_vehicles(self, backend, count):
        first, _ = drive([{"vehicles_count": count}], [IDLE], backend, copies=2)
        # Four others can be seen; the first vehicles are within 200 m.
        assert (first[..., PRESENCE].sum(axis=1) == 1 + min(count, 4)).all()

    def test_density(self, backend):
        tasks = [{"vehicles_density": density, "vehicles_count": 4} for density in (0.8, 1.6)]
        first, _ = drive(tasks, [IDLE], backend, copies=15)
        gaps = np.diff(first[:, 1:, X], axis=1).reshape(2, -1).mean(axis=1)
        assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.05)


class TestUnmodified:
    def test_is_highway_envs(self):
        needs("highway-env")
        ours, theirs = (
            HighwayMaker({})(),
            gymnasium.make("highway-fast-v0", disable_env_checker=True),
        )
        np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
        for action in random_actions(LIMIT, 1)[:, 0]:
            left, right = ours.step(int(action)), theirs.step(int(action))
            np.testing.assert_array_equal(left[0], right[0])
            assert left[1:4] == right[1:4]
            if left[2] or left[3]:
                break
        ours.close()
        theirs.close()

    def test_is_envpools(self):
        needs("envpool")
        import envpool

        from pgx_jax.envs.highway import envpool_config

        pools = [
            envpool.make_gymnasium("HighwayFast-v0", num_envs=4, seed=[1, 2, 3, 4], **options)
            for options in ({}, envpool_config(UNMODIFIED))
        ]
        starts = [pool.reset()[0] for pool in pools]
        np.testing.assert_array_equal(*starts)
        for action in random_actions(40, 4):
            left, right = (pool.step(action) for pool in pools)
            for one, other in zip(left[:4], right[:4], strict=True):
                np.testing.assert_array_equal(one, other)
        for pool in pools:
            pool.close()


class TestParity:
    @pytest.fixture
    def parity(self):
        needs("envpool")
        needs("highway-env")
        return importlib.import_module("benchmarks.environments.highway_parity")

    def test_same_state_and_actions_give_the_same_episode(self, parity):
        tasks = [
            {},
            {
                "lanes_count": 4,
                "vehicles_count": 12,
                "reward_speed_low": 30.0,
                "reward_speed_high": 20.0,
            },
        ]
        for task in tasks:
            actions = random_actions(LIMIT, 2)
            episodes = parity.compare_episodes(task, actions, seed=0, same_choice=True)
            for episode in episodes:
                assert episode.cause is None
                assert episode.agreed_steps == episode.lengths[0] == episode.lengths[1]
                assert episode.crashed[0] == episode.crashed[1]
                assert episode.observation_error < 1e-6
                assert episode.reward_error < 1e-6

    @pytest.mark.slow
    def test_they_part_only_by_the_listed_difference(self, parity):
        task = {"lanes_count": 4, "vehicles_density": 1.4}
        actions = np.full((LIMIT, 6), SLOWER)
        episodes = parity.compare_episodes(task, actions, seed=0)
        causes = [episode.cause for episode in episodes]
        assert "lane choice" in causes
        assert "other" not in causes
        equalised = parity.compare_episodes(task, actions, seed=0, same_choice=True)
        assert [episode.cause for episode in equalised] == [None] * 6
