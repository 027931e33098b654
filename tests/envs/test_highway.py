"""Highway: its tasks, episodes on both backends, and highway-env alone."""

import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pgx_jax.envs.base import Discrete
from pgx_jax.envs.highway import (
    RANGES,
    SLOW_SHARE,
    UNMODIFIED,
    HighwayMaker,
    highway,
    highway_family,
    highway_parameters,
)
from tests.envs.highway_drives import (
    ALONE,
    FASTER,
    IDLE,
    LIMIT,
    MODULES,
    SLOWER,
    drive,
    needs,
    random_actions,
)

gymnasium = pytest.importorskip("gymnasium")


@pytest.fixture(params=MODULES)
def backend(request):
    return needs(request.param)


class TestPublishedTasks:
    def test_first_tasks_are_the_same_whatever_their_number(self):
        assert highway_parameters(0, 20)[:5] == highway_parameters(0, 5)
        assert highway_parameters(0, 5) != highway_parameters(2, 5)

    @pytest.mark.parametrize("name", ["vehicles_density", "total_weight", "speed_share"])
    def test_uniform(self, name):
        tasks = highway_parameters(0, 2000)
        weights = np.array(
            [[task["high_speed_reward"], task["right_lane_reward"]] for task in tasks]
        )
        values = {
            "vehicles_density": np.array([task["vehicles_density"] for task in tasks]),
            "total_weight": weights.sum(axis=1),
            "speed_share": weights[:, 0] / weights.sum(axis=1),
        }[name]
        low, high = RANGES[name]
        assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 0.01

    @pytest.mark.parametrize("name", ["vehicles_count", "lanes_count"])
    def test_whole_numbers_both_ends_included(self, name):
        low, high = RANGES[name]
        values = [task[name] for task in highway_parameters(0, 2000)]
        assert all(isinstance(value, int) for value in values)
        counts = np.bincount(values, minlength=high + 1)
        assert not counts[:low].any()
        assert stats.chisquare(counts[low:]).pvalue > 0.01

    def test_speed_ranges_of_both_directions(self):
        ends = np.array(
            [
                [task["reward_speed_low"], task["reward_speed_high"]]
                for task in highway_parameters(0, 2000)
            ]
        )
        slow_pays = ends[:, 0] > ends[:, 1]
        assert abs(slow_pays.mean() - SLOW_SHARE) < 0.04
        for values, (low, high) in zip(
            np.sort(ends, axis=1).T, (RANGES["slow"], RANGES["fast"]), strict=True
        ):
            assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 0.01

    def test_weights_of_the_first_ten_conflict(self):
        tasks = highway_parameters(0, 10)
        speed_first = [task["high_speed_reward"] > task["right_lane_reward"] for task in tasks]
        slow_pays = [task["reward_speed_low"] > task["reward_speed_high"] for task in tasks]
        assert 3 <= sum(speed_first) <= 7
        assert 3 <= sum(slow_pays) <= 7

    def test_highway_fast_lies_within_the_ranges(self):
        assert RANGES["slow"][0] <= UNMODIFIED["reward_speed_low"] <= RANGES["slow"][1]
        assert RANGES["fast"][0] <= UNMODIFIED["reward_speed_high"] <= RANGES["fast"][1]
        total = UNMODIFIED["high_speed_reward"] + UNMODIFIED["right_lane_reward"]
        derived = {
            "total_weight": total,
            "speed_share": UNMODIFIED["high_speed_reward"] / total,
            **{name: UNMODIFIED[name] for name in list(RANGES)[:3]},
        }
        for name, value in derived.items():
            assert RANGES[name][0] <= value <= RANGES[name][1]


class TestFamily:
    def test_what_it_says(self, backend):
        family = highway(3, 2, backend=backend)
        environment = family.environment
        assert family.num_tasks == 3
        assert [*family.train_tasks.index, *family.test_tasks.index] == list(range(5))
        assert family.metric == "return"
        assert environment.info_names == ("crashed",)
        assert environment.observation_shape == (5, 5)
        assert environment.action_space == Discrete(5)
        assert environment.max_episode_steps == LIMIT
        assert environment.backend == backend
        assert backend in family.notes[0]
        assert len(family.notes) == (3 if backend == "envpool" else 1)
        for low, high in RANGES.values():
            assert f"{low:g}" in family.description
            assert f"{high:g}" in family.description
        family.close()

    def test_envpool_is_the_default(self):
        needs("envpool")
        assert highway(2, 1).environment.backend == "envpool"

    def test_names_are_unique_and_say_what_varies(self):
        needs("envpool")
        names = highway(30, 1).train_names
        assert len(set(names)) == 30
        assert highway_family("test", [{}], []).train_names == ("1: unmodified",)
        task = {"lanes_count": 4, "reward_speed_low": 30.0, "reward_speed_high": 22.0}
        name = highway_family("test", [task], []).train_names[0]
        assert "lanes=4" in name
        assert "speed=30>22" in name

    def test_unknown_backend(self):
        with pytest.raises(ValueError, match='unknown backend "gym"; known: envpool, highway-env'):
            highway(backend="gym")

    @pytest.mark.parametrize(
        ("task", "message"),
        [
            ({"speed": 1.0}, 'unknown parameter "speed"; known: vehicles_density'),
            ({"lanes_count": 0}, "lanes_count is 0; it must be above 0"),
            ({"lanes_count": 2.5}, "lanes_count is 2.5; it must be a whole number"),
            ({"vehicles_density": -1.0}, "vehicles_density is -1;"),
            ({"vehicles_count": -1}, "vehicles_count is -1; it must be at least 0"),
            ({"right_lane_reward": -0.1}, "right_lane_reward is -0.1;"),
            ({"high_speed_reward": float("nan")}, "high_speed_reward is nan;"),
            ({"reward_speed_low": 30.0}, "reward_speed_low and reward_speed_high are equal"),
        ],
    )
    def test_impossible_tasks(self, task, message):
        with pytest.raises(ValueError, match=message):
            highway_family("test", [{}], [task])

    @pytest.mark.parametrize(
        ("name", "extra"), [("envpool", "envpool"), ("highway-env", "highway")]
    )
    def test_missing_package_is_named(self, name, extra, monkeypatch):
        monkeypatch.setitem(sys.modules, MODULES[name], None)
        monkeypatch.delitem(sys.modules, "pgx_jax.envs.host.envpool_batch", raising=False)
        with pytest.raises(ImportError, match=f'pip install "pgx_jax.{extra}."'):
            highway(2, 1, backend=name)


class TestEpisodes:
    def test_shapes_ranges_and_ends(self, backend):
        tasks = [{**task, "vehicles_count": 6} for task in highway_parameters(0, 3)]
        first, result = drive(tasks, [FASTER] * 12, backend)
        assert first.shape == (3, 5, 5)
        assert result.observation.shape == result.final_observation.shape == (12, 3, 5, 5)
        assert result.reward.shape == result.info["crashed"].shape == (12, 3)
        seen = np.concatenate([first[None], result.observation])
        assert seen.dtype == np.float32
        assert np.abs(seen).max() <= 1.0
        valid = result.valid
        assert (result.reward[valid] >= 0).all()
        assert (result.reward[valid] <= 1 + 1e-6).all()
        assert result.terminated.any()
        assert not (result.terminated & result.truncated).any()
        np.testing.assert_array_equal(result.terminated, result.info["crashed"] > 0)

    def test_who_survives_is_truncated_after_thirty_steps(self, backend):
        _, result = drive([{"vehicles_count": 6}], [SLOWER] * 32, backend)
        assert not result.terminated.any()
        assert result.truncated[:, 0].nonzero()[0].tolist() == [LIMIT - 1]
        # 20 m/s pay nothing, the lane at most 0.1 of 1.5; the collision's 1 is not lost.
        assert 30 * 0.666 < result.reward[:LIMIT].sum() < 30 * 0.75

    def test_a_crash_in_the_last_step_is_no_truncation(self, backend):
        """Found among many in EnvPool; highway-env reports both flags at once."""
        if backend == "envpool":
            _, result = drive([{}], [IDLE] * LIMIT, backend, copies=400)
            last = result.info["crashed"][-1] > 0
            assert last.any()
            assert result.terminated[-1][last].all()
            assert not result.truncated[-1][last].any()
            assert result.truncated[-1].any()
        else:
            environment = HighwayMaker({})()
            environment.reset(seed=0)
            base = environment.unwrapped
            base.time = LIMIT - 1
            base.vehicle.crashed = True
            assert environment.step(IDLE)[2:4] == (True, True)
            environment.close()

    def test_the_step_after_the_last_only_resets_in_envpool(self):
        _, result = drive([{}], random_actions(60, 8), needs("envpool"), copies=8)
        done = result.terminated | result.truncated
        assert done.any()
        assert result.valid[0].all()
        np.testing.assert_array_equal(result.valid[1:], ~done[:-1])
        assert not result.reward[~result.valid].any()
        assert not result.info["crashed"][~result.valid].any()

    def test_every_step_counts_in_highway_env(self):
        _, result = drive([{"vehicles_count": 6}], [FASTER] * 12, needs("highway-env"), copies=2)
        done = result.terminated | result.truncated
        assert done.any()
        assert result.valid.all()
        assert (result.observation[done] != result.final_observation[done]).any(axis=(1, 2)).all()

    def test_equal_keys_give_equal_episodes(self, backend):
        tasks = [{"vehicles_count": 6}, {"vehicles_count": 6, "vehicles_density": 1.5}]
        one, again = (drive(tasks, [FASTER] * 14, backend, seed=1) for _ in range(2))
        other = drive(tasks, [FASTER], backend, seed=2)
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(left, right)
        # Episodes ended in between, and the next ones were the same as well.
        assert one[1].terminated.any()
        assert not np.array_equal(one[0], other[0])

    def test_in_a_program_as_step_by_step(self, backend):
        tasks, actions = [{"vehicles_count": 3}], np.full((12, 1), FASTER)
        family = highway_family("test", tasks, [], backend=backend)
        environment, keys = family.environment, jax.random.split(jax.random.key(0), 1)

        @jax.jit
        def walk(actions):
            def one_step(state, action):
                return environment.step(keys, state, action, family.train_tasks)

            state, observation = environment.reset(keys, family.train_tasks)
            return observation, jax.lax.scan(one_step, state, actions)[1]

        runs = [jax.tree.map(np.asarray, walk(jnp.asarray(actions))) for _ in range(2)]
        environment.check()
        family.close()
        # A reset starts the environments that are kept anew.
        for other in (runs[1], drive(tasks, actions, backend)):
            for one, two in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(other), strict=True):
                np.testing.assert_array_equal(one, two)


class TestHighwayEnv:
    @pytest.fixture(autouse=True)
    def _package(self):
        needs("highway-env")

    def test_picklable_maker(self):
        maker = HighwayMaker(highway_parameters(0, 1)[0])
        runs = []
        for own in (maker, pickle.loads(pickle.dumps(maker))):
            environment = own()
            observation, _ = environment.reset(seed=1)
            runs.append((observation, environment.step(FASTER)[0]))
            environment.close()
        for one, other in zip(*runs, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("driver", [None, "dummy"])
    def test_draws_an_episode(self, monkeypatch, driver):
        # The program sets the driver, a library user may not.
        monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
        if driver is not None:
            monkeypatch.setenv("SDL_VIDEODRIVER", driver)
        family = highway_family("test", [ALONE], [], backend="highway-env")
        frames = family.render(0, lambda observation: IDLE, 3)
        assert frames.shape[0] == 3
        assert frames.dtype == np.uint8
        assert not np.array_equal(frames[0], frames[2])

    @pytest.mark.slow
    def test_async_equals_sync(self):
        tasks, actions = highway_parameters(0, 2), random_actions(12, 2)
        sync, processes = (
            drive(tasks, actions, backend) for backend in ("highway-env", "highway-env-async")
        )
        for one, other in zip(jax.tree.leaves(sync), jax.tree.leaves(processes), strict=True):
            np.testing.assert_array_equal(one, other)
