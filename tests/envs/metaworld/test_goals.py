"""Meta-World: which goals a family has, and the episodes that meet them."""

import numpy as np
import pytest

from pgx_jax.envs.host.calls import HostStep
from pgx_jax.envs.metaworld.goals import GOALS_PER_TASK, GoalBatch, goal_table
from pgx_jax.envs.metaworld.observation import ACTION_SIZE, OBSERVATION_SIZE, decode, encode
from pgx_jax.envs.metaworld.tasks import MT10


class Recorded:
    """A batch that notes the seeds of its resets and lasts three steps."""

    def __init__(self, count):
        self.seeds, self.time, self.count = [], 0, count

    def reset(self, seeds):
        self.seeds.append(seeds)
        self.time = 0
        return self.observe()

    def observe(self):
        """All numbers of an observation tell the reset and the step."""
        return np.full((self.count, OBSERVATION_SIZE), len(self.seeds) + self.time / 10)

    def step(self, action):
        self.time += 1
        ended = np.full(self.count, self.time == 3)
        return HostStep(self.observe(), np.ones(self.count), np.zeros(self.count, bool), ended)

    def close(self):
        pass

    def where(self):
        return None


class TestGoals:
    def test_fifty_a_task_and_new_ones_held_out(self):
        table = goal_table(MT10, 50, seed=0)
        assert len(table) == 60
        for position, row in enumerate(table[:10]):
            assert (row.environment, row.position) == (MT10[position], position)
            assert len(set(row.seeds)) == GOALS_PER_TASK == 50
        held_out = {row.environment: [] for row in table[:10]}
        for row in table[10:]:
            assert len(row.seeds) == 1
            assert MT10[row.position] == row.environment
            held_out[row.environment].append(row.seeds[0])
        for row in table[:10]:
            # Five each, all different, none of them among the fifty.
            assert len({*row.seeds, *held_out[row.environment]}) == 55

    def test_do_not_depend_on_the_other_tasks(self):
        alone, together = goal_table(["push-v3"], 3, seed=4), goal_table(MT10, 30, seed=4)
        own = [row for row in together if row.environment == "push-v3"]
        for one, other in zip(alone, own, strict=True):
            np.testing.assert_array_equal(one.seeds, other.seeds)

    def test_seed_decides_them(self):
        tables = [goal_table(MT10, 50, seed) for seed in (0, 0, 1)]
        seeds = [np.concatenate([row.seeds for row in table]) for table in tables]
        np.testing.assert_array_equal(seeds[0], seeds[1])
        assert not np.isin(seeds[0], seeds[2]).any()

    def test_every_episode_has_one_of_its_tasks_goals(self):
        rows = goal_table(MT10, 10, seed=0)
        raw = Recorded(20)
        batch = GoalBatch(raw, rows)
        batch.reset(np.arange(20))
        for _ in range(30 * 4):
            batch.step(np.zeros((20, ACTION_SIZE)))
        drawn = np.array(raw.seeds).T
        for row, own in zip(rows, drawn, strict=True):
            assert set(own) <= set(row.seeds)
        assert len(set(drawn[0])) > 10
        assert (drawn[10:] == drawn[10:, :1]).all()

    def test_own_seed_decides_the_episodes(self):
        rows = goal_table(MT10[:3], 0, seed=0)
        drawn = []
        for seeds in ([1, 2, 3], [1, 2, 9]):
            raw = Recorded(3)
            batch = GoalBatch(raw, rows)
            batch.reset(np.array(seeds))
            for _ in range(4 * 4):
                batch.step(np.zeros((3, ACTION_SIZE)))
            drawn.append(np.array(raw.seeds))
        np.testing.assert_array_equal(drawn[0][:, :2], drawn[1][:, :2])
        assert not np.array_equal(drawn[0][:, 2], drawn[1][:, 2])


class TestEpisodes:
    def test_the_step_after_the_last_starts_the_next_and_counts_for_nothing(self):
        rows = goal_table(MT10[:2], 0, seed=0)
        batch = GoalBatch(Recorded(2), rows)
        np.testing.assert_allclose(decode(batch.reset(np.arange(2))), 1.0, rtol=1e-5)
        steps = [batch.step(np.zeros((2, ACTION_SIZE))) for _ in range(5)]
        for step, observed in zip(steps, (1.1, 1.2, 1.3, 2.0, 2.1), strict=True):
            np.testing.assert_allclose(decode(step.observation), observed, rtol=1e-5)
        ends = [bool(step.truncated.all()) for step in steps]
        assert ends == [False, False, True, False, False]
        assert [step.reward.sum() for step in steps] == [2, 2, 2, 0, 2]
        valid = [step.valid is None or bool(step.valid.all()) for step in steps]
        assert valid == [True, True, True, False, True]
        np.testing.assert_array_equal(steps[3].info["success"], 0)

    def test_a_reset_amid_an_episode_starts_a_whole_one(self):
        batch = GoalBatch(Recorded(1), goal_table(MT10[:1], 0, seed=0))
        batch.reset(np.arange(1))
        for _ in range(3):
            batch.step(np.zeros((1, ACTION_SIZE)))
        batch.reset(np.arange(1))
        assert batch.step(np.zeros((1, ACTION_SIZE))).valid is None

    def test_that_do_not_end_together_are_refused(self):
        class Uneven(Recorded):
            def step(self, action):
                return super().step(action)._replace(truncated=np.array([True, False]))

        batch = GoalBatch(Uneven(2), goal_table(MT10[:2], 0, seed=0))
        batch.reset(np.arange(2))
        with pytest.raises(RuntimeError, match="did not end together"):
            batch.step(np.zeros((2, ACTION_SIZE)))


def test_decode_is_the_inverse_of_encode():
    raw = np.random.default_rng(0).uniform(-0.5, 1.0, (7, 5, OBSERVATION_SIZE))
    encoded = encode(raw)
    assert encoded.dtype == np.float32
    assert encoded.shape == raw.shape
    np.testing.assert_allclose(decode(encoded), raw, atol=1e-5)
