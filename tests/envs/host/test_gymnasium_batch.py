"""Gymnasium's vector environments as batches, here and in processes, against plain loops."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from pgx_jax.envs.base import Box, Discrete  # noqa: E402
from pgx_jax.envs.host.calls import EnvironmentFault  # noqa: E402
from pgx_jax.envs.host.gymnasium_batch import (  # noqa: E402
    GymnasiumBatch,
    action_space_of,
    vectorization_of,
)
from pgx_jax.envs.host.processes import ProcessBatch  # noqa: E402
from tests.envs.host.probes import Imported, Task, play, tasks, with_fault  # noqa: E402

SEEDS = np.array([11, 12, 13])
STEPS = 12
ROOT = Path(__file__).resolve().parents[3]


def make(table, vectorization="sync", **options):
    return GymnasiumBatch(
        list(table),
        [f"task {task.number}" for task in table],
        vectorization=vectorization,
        num_processes=2,
        **options,
    )


@pytest.fixture(params=["sync", "async"])
def vectorization(request):
    yield request.param
    assert not multiprocessing.active_children()


def native(table, actions):
    """What the probes should see of actions int[T, B] or float[T, B, size] in [-1, 1]."""
    if table[0].bounds is None:
        return actions + table[0].first
    low, high = table[0].bounds
    return (low + (actions + 1.0) / 2.0 * (high - low)).reshape(*actions.shape, 1)


def random_actions(table, steps=STEPS):
    rng = np.random.default_rng(3)
    if table[0].bounds is None:
        return rng.integers(0, 2, (steps, len(table)))
    return rng.uniform(-1, 1, (steps, len(table), 2)).astype(np.float32)


def steps_of(batch, actions, seeds=SEEDS):
    first = batch.reset(seeds)
    return first, [batch.step(action) for action in actions]


KINDS = {
    "discrete": {},
    "discrete from 5": {"first": 5},
    "box": {"bounds": (-0.1, 3.0)},
    "truncated": {"truncates": True},
    "bytes": {"observes": "bytes"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_step_equals_plain_loops(kind, vectorization):
    table = tasks(3, **KINDS[kind])
    actions = random_actions(table)
    batch = make(table, vectorization, info_names=("success", "progress"))
    first, steps = steps_of(batch, actions)
    batch.close()
    for row, task in enumerate(table):
        played = play(task, int(SEEDS[row]), native(table, actions)[:, row])
        np.testing.assert_array_equal(first[row], played.first)
        for t, step in enumerate(steps):
            final = step.observation if step.final_observation is None else step.final_observation
            np.testing.assert_array_equal(step.observation[row], played.observation[t])
            np.testing.assert_array_equal(final[row], played.final[t])
            np.testing.assert_allclose(step.reward[row], played.reward[t], rtol=1e-6)
            assert step.terminated[row] == played.terminated[t]
            # Probes that terminate say "truncated" too; who calls this drops it.
            assert (step.truncated[row] and not step.terminated[row]) == played.truncated[t]
            assert step.info["success"][row] == played.success[t]
            assert step.info["progress"][row] == pytest.approx(played.final[t][1] / task.length)
            assert step.valid is None


def test_next_step_has_one_dead_step_after_every_episode(vectorization):
    table = tasks(3)
    actions = random_actions(table, 16)
    batch = make(table, vectorization, same_step=False, info_names=("success",))
    first, steps = steps_of(batch, actions)
    batch.close()
    assert all(step.final_observation is None for step in steps)
    for row, task in enumerate(table):
        alive = [t for t in range(16) if (t + 1) % (task.length + 1)]
        played = play(task, int(SEEDS[row]), native(table, actions)[alive, row])
        np.testing.assert_array_equal(first[row], played.first)
        for t, step in enumerate(steps):
            assert step.valid[row] == (t in alive)
            if t in alive:
                place = alive.index(t)
                np.testing.assert_array_equal(step.observation[row], played.final[place])
                np.testing.assert_allclose(step.reward[row], played.reward[place])
                assert step.terminated[row] == played.terminated[place]
                assert step.info["success"][row] == played.success[place]
            else:
                begun = played.observation[alive.index(t - 1)]
                np.testing.assert_array_equal(step.observation[row], begun)
                assert step.reward[row] == 0
                assert not step.terminated[row]
                assert not step.truncated[row]


def test_a_reset_in_the_middle_starts_as_the_first_did(vectorization):
    table = tasks(3)
    actions = random_actions(table)
    for same_step in (True, False):
        batch = make(table, vectorization, same_step=same_step)
        first, steps = steps_of(batch, actions[:4])  # ends on the first task's last step
        again, more = steps_of(batch, actions[:4])
        other = batch.reset(SEEDS + 1)
        batch.close()
        np.testing.assert_array_equal(again, first)
        assert not np.array_equal(other, first)
        for one, two in zip(steps, more, strict=True):
            np.testing.assert_array_equal(one.observation, two.observation)
            np.testing.assert_array_equal(one.reward, two.reward)


def test_what_a_step_returned_does_not_change_with_the_next():
    batch = make(tasks(3))
    first, steps = steps_of(batch, random_actions(tasks(3), 1))
    kept = [first.copy(), *(np.copy(part) for part in steps[0][:4])]
    batch.step(np.ones(3, int))
    for before, now in zip(kept, [first, *steps[0][:4]], strict=True):
        np.testing.assert_array_equal(before, now)


class TestActions:
    def test_both_ends_of_the_range_are_reached_and_never_left(self):
        # Rounding: 0.1 + (0.7 - 0.1) is not 0.7. The probe refuses what its space does not hold.
        batch = make(tasks(2, bounds=(0.1, 0.7)))
        batch.reset(SEEDS[:2])
        rewards = [batch.step(np.full((2, 2), value)).reward[0] for value in (-1.0, 1.0)]
        assert rewards == pytest.approx([1 + 0.25 + 0.1, 1 + 0.5 + 0.7])

    def test_spaces(self):
        spaces = gymnasium.spaces
        assert action_space_of(spaces.Discrete(3, start=2), "x") == Discrete(3)
        assert action_space_of(spaces.Box(-2, 5, (2, 3)), "x") == Box(6)
        for space in (
            spaces.Box(-np.inf, np.inf, (2,)),
            spaces.MultiDiscrete([2, 2]),
            spaces.Dict({"a": spaces.Discrete(2)}),
        ):
            with pytest.raises(ValueError, match='environment "Odd-v0" has actions'):
                action_space_of(space, "Odd-v0")

    def test_backends(self):
        assert vectorization_of("gymnasium") == "sync"
        assert vectorization_of("gymnasium-async") == "async"
        with pytest.raises(ValueError, match='unknown backend "envpool"; known: gymnasium'):
            vectorization_of("envpool")


class TestRefusals:
    def test_observations_that_are_no_box(self, vectorization):
        with pytest.raises(EnvironmentFault, match=r"only Box is supported.*FlattenObservation"):
            make(tasks(3, observes="dict"), vectorization)

    def test_an_environment_that_cannot_be_made(self, vectorization):
        with pytest.raises(EnvironmentFault, match="ValueError: cannot be made") as caught:
            make(with_fault("raise in init", row=2, count=3), vectorization)
        assert caught.value.row == 2

    def test_those_made_before_it_are_closed(self):
        closed = []

        def maker():
            made = Task()()
            made.close = lambda: closed.append(made)
            return made

        with pytest.raises(EnvironmentFault):
            GymnasiumBatch([maker, maker, Task(fault="raise in init")], ["a", "b", "c"])
        assert len(closed) == 2

    def test_tasks_whose_actions_differ(self, vectorization):
        with pytest.raises(RuntimeError, match=r"Discrete\(2, start=1\)"):
            make([Task(), Task(first=1)], vectorization)

    def test_no_environment(self):
        with pytest.raises(ValueError, match="0 environments"):
            GymnasiumBatch([], [])

    def test_a_maker_that_cannot_be_sent(self):
        lock = multiprocessing.Lock()
        with pytest.raises((RuntimeError, TypeError), match=r"[Ll]ock|pickle|inherit"):
            GymnasiumBatch([lambda: lock], ["a"], vectorization="async")
        assert not multiprocessing.active_children()

    def test_an_info_value_that_is_missing_once(self, vectorization):
        batch = make(with_fault("no info", count=3), vectorization, info_names=("success",))
        batch.reset(SEEDS)
        for _ in range(5):
            batch.step(np.zeros(3, int))
        with pytest.raises(EnvironmentFault, match='info has no "success"') as caught:
            batch.step(np.zeros(3, int))
        batch.close()
        assert caught.value.row == 1


class TestWhere:
    """Which environment is at work, so that a fault can be given a name."""

    @pytest.mark.parametrize("fault", ["raise", "shape", "reward shape"])
    def test_the_one_that_failed(self, fault, vectorization):
        batch = make(with_fault(fault, row=2, count=3), vectorization)
        batch.reset(SEEDS)
        assert batch.where() is None
        for _ in range(5):
            batch.step(np.zeros(3, int))
        assert batch.where() is None
        with pytest.raises((ValueError, EnvironmentFault), match=r"broken on purpose|shape"):
            batch.step(np.zeros(3, int))
        assert batch.where() == 2
        batch.close()


class TestProcesses:
    @pytest.mark.parametrize("context", ["forkserver", "spawn"])
    def test_both_ways_to_start(self, context):
        table = tasks(3)
        batch = make(table, "async", context=context)
        here = make(table)
        actions = random_actions(table)
        first, steps = steps_of(batch, actions)
        wanted, others = steps_of(here, actions)
        assert len(multiprocessing.active_children()) == 2
        np.testing.assert_array_equal(first, wanted)
        for one, two in zip(steps, others, strict=True):
            np.testing.assert_array_equal(one.observation, two.observation)
        batch.close()
        assert not multiprocessing.active_children()
        batch.close()  # twice does no harm
        with pytest.raises(RuntimeError, match="closed"):
            batch.step(actions[0])

    def test_no_more_processes_than_environments(self):
        batch = GymnasiumBatch([Task()], ["a"], vectorization="async", num_processes=8)
        assert len(multiprocessing.active_children()) == 1
        batch.close()

    def test_a_process_that_dies(self):
        batch = make(with_fault("dies", row=2, count=3), "async")
        batch.reset(SEEDS)
        for _ in range(5):
            batch.step(np.zeros(3, int))
        with pytest.raises(EnvironmentFault, match=r"its process ended \(exit code 7\)") as caught:
            batch.step(np.zeros(3, int))
        assert caught.value.row == 2
        batch.close()
        assert not multiprocessing.active_children()

    def test_close_stops_one_that_hangs(self):
        batch = make([replace(Task(), fault="hang in C", at=1)] * 2, "async")
        batch.reset(SEEDS[:2])
        batch._batch._ask("step", np.zeros(2, int))
        while batch.where() is None:
            time.sleep(0.01)
        started = time.monotonic()
        batch.close()
        assert time.monotonic() - started < 2.0
        assert not multiprocessing.active_children()

    def test_they_import_neither_jax_nor_the_main_module(self):
        batch = ProcessBatch([Imported], [1])
        modules = set(batch.reset(np.zeros(1, int))[0].split())
        batch.close()
        assert "tests.envs.host.probes" in modules
        assert modules.isdisjoint({"jax", "jaxlib", "flax", "pytest", "scipy"})

    def test_families_can_be_made_without_jax(self):
        # What a process imports to make an environment of these families.
        names = ["gymnasium_families", "highway", "lunarlander", "metaworld", "parameters"]
        code = (
            "import sys\nfrom importlib import import_module\n"
            f"for name in {names!r}: import_module('pgx_jax.envs.' + name)\n"
            "print('jax' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.strip() == "False"


SCRIPT = """
    import gymnasium
    import numpy as np
    from pgx_jax.envs.host.gymnasium_batch import GymnasiumBatch

    print("started")

    class Mine(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (2,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

        def step(self, action):
            return np.zeros(2, np.float32), float(action), False, False, {}

    gymnasium.register("Mine-v0", Mine)
    batch = GymnasiumBatch(
        [lambda: gymnasium.make("Mine-v0")] * 3, ["a", "b", "c"],
        vectorization="async", context=CONTEXT, num_processes=2,
    )
    batch.reset(np.arange(3))
    print(batch.step(np.array([0, 1, 1])).reward)
    CLOSE
"""


@pytest.mark.parametrize(("context", "close"), [("forkserver", "pass"), ("spawn", "batch.close()")])
def test_a_script_without_a_guard_and_with_an_environment_of_its_own(context, close, tmp_path):
    script = tmp_path / "script.py"
    text = textwrap.dedent(SCRIPT).replace("CONTEXT", repr(context)).replace("CLOSE", close)
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["started", "[0. 1. 1.]"]
    assert done.returncode == 0
