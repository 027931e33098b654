"""The host bridge: what comes back, what is kept, and what happens when something goes wrong."""

import math
import os
import signal
import threading
import time
import warnings
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")

from pgx_jax.envs import host_bridge
from pgx_jax.envs.base import Box, Discrete
from pgx_jax.envs.host import (
    HostEnvironment,
    HostEnvironmentError,
    HostStep,
    HostTasks,
    supports_callbacks,
)
from tests.envs.host_environments import (
    compiled_walk,
    host_environment,
    host_tasks,
    left_running,
    python_walk,
    seed_of,
)
from tests.envs.host_probes import FAULTS, LENGTH, Task, play, tasks, with_fault

COUNT, STEPS = 3, 11
TASKS = host_tasks(COUNT)
KEYS = jax.random.split(jax.random.key(0), COUNT)
ACTIONS = jax.random.randint(jax.random.key(1), (STEPS, COUNT), 0, 2)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not left_running()


@pytest.fixture
def closing():
    """Hands out environments that are closed at the end."""
    made = []

    def make(*args, **options):
        made.append(host_environment(*args, **options))
        return made[-1]

    yield make
    for environment in made:
        environment.close()


def walk_of(environment, actions=ACTIONS, keys=KEYS, run=None):
    run = run or (python_walk if environment.runs_in_python else compiled_walk)
    first, _, steps = run(environment, keys, TASKS, actions)
    jax.block_until_ready(steps)
    environment.check()
    return np.asarray(first), jax.tree.map(np.asarray, steps)


def assert_equal(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)


class TestSteps:
    @pytest.mark.parametrize("truncates", [False, True])
    @pytest.mark.parametrize("bounds", [None, (-2.0, 3.0)])
    def test_same_step_equals_plain_loops(self, bounds, truncates, closing):
        table = tasks(COUNT, truncates=truncates, bounds=bounds)
        actions = ACTIONS
        if bounds is not None:  # some beyond the range, to be clipped
            actions = jax.random.uniform(KEYS[0], (STEPS, COUNT, 2), minval=-1.5, maxval=1.5)
        first, steps = walk_of(closing(table), actions)
        for row, task in enumerate(table):
            seen = np.asarray(actions[:, row], np.float64)
            if bounds is not None:
                seen = (-2.0 + (np.clip(seen, -1, 1) + 1) / 2 * 5.0).reshape(STEPS, 2, 1)
            else:
                seen = seen.astype(int)
            played = play(task, seed_of(KEYS[row]), seen)
            np.testing.assert_array_equal(first[row], played.first)
            np.testing.assert_array_equal(steps.observation[:, row], played.observation)
            np.testing.assert_array_equal(steps.final_observation[:, row], played.final)
            np.testing.assert_allclose(steps.reward[:, row], played.reward, rtol=1e-6)
            np.testing.assert_array_equal(steps.terminated[:, row], played.terminated)
            np.testing.assert_array_equal(steps.truncated[:, row], played.truncated)
            np.testing.assert_array_equal(steps.info["success"][:, row], played.success)
            np.testing.assert_allclose(
                steps.info["progress"][:, row], np.array(played.final)[:, 1] / task.length
            )
        assert steps.valid.all()
        assert steps.done.any(axis=0).all()

    def test_next_step_marks_the_steps_that_only_reset(self, closing):
        table = tasks(COUNT)
        first, steps = walk_of(closing(table, same_step=False))
        for row, task in enumerate(table):
            dead = np.arange(1, STEPS + 1) % (task.length + 1) == 0
            np.testing.assert_array_equal(steps.valid[:, row], ~dead)
            played = play(task, seed_of(KEYS[row]), np.asarray(ACTIONS)[~dead, row])
            np.testing.assert_array_equal(first[row], played.first)
            alive = jax.tree.map(lambda leaf, row=row, dead=dead: leaf[~dead, row], steps)
            np.testing.assert_array_equal(alive.final_observation, played.final)
            np.testing.assert_array_equal(alive.observation, played.final)
            np.testing.assert_array_equal(alive.reward, np.float32(played.reward))
            np.testing.assert_array_equal(alive.terminated, played.terminated)
            np.testing.assert_array_equal(alive.info["success"], played.success)
            assert (steps.reward[dead, row] == 0).all()
            assert not steps.done[dead, row].any()

    def test_processes_and_python_loops_give_the_same(self, closing):
        table = tasks(COUNT)
        here = walk_of(closing(table))
        assert_equal(walk_of(closing(table, vectorization="async")), here)
        assert_equal(walk_of(closing(table, loop="python")), here)
        assert_equal(walk_of(closing(table), run=python_walk), here)

    def test_random_numbers_come_from_the_own_key_alone(self, closing):
        environment = closing(tasks(COUNT))
        before = walk_of(environment)
        assert_equal(walk_of(environment), before)
        first, steps = walk_of(environment, keys=KEYS.at[0].set(jax.random.key(9)))
        assert_equal(first[1:], before[0][1:])
        assert_equal(steps.observation[:, 1:], before[1].observation[:, 1:])
        assert (first[0] != before[0][0]).any()

    def test_bytes_become_floats(self, closing):
        first, steps = walk_of(closing(tasks(COUNT, observes="bytes")))
        assert first.dtype == steps.observation.dtype == np.float32
        assert_equal(first, walk_of(closing(tasks(COUNT)))[0])


def all_equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from all_equations(inner)


@pytest.mark.parametrize("bounds", [None, (-1.0, 1.0)])
def test_a_step_is_one_ordered_callback_with_one_array_each_way(bounds, closing):
    """An accelerator then copies once to the host and once back."""
    environment = closing(tasks(COUNT, bounds=bounds))
    actions = ACTIONS if bounds is None else jnp.zeros((STEPS, COUNT, 2))
    run = partial(compiled_walk.__wrapped__, environment)
    outer = list(all_equations(jax.make_jaxpr(run)(KEYS, TASKS, actions).jaxpr))
    (loop,) = [one for one in outer if one.primitive.name == "scan"]
    inside = list(all_equations(loop.params["jaxpr"].jaxpr))
    calls = [one for one in inside if one.primitive.name == "io_callback"]
    assert len(calls) == 1
    assert len([one for one in outer if one.primitive.name == "io_callback"]) == 2  # and a reset
    (call,) = calls
    assert call.params["ordered"]
    assert len(call.invars) == len(call.outvars) == 1
    assert call.invars[0].aval.dtype == np.int32
    assert call.outvars[0].aval.dtype == np.float32


class TestKept:
    """Environments stay for the tasks that they hold."""

    def test_made_once_and_closed_in_the_end(self):
        made = []
        environment = host_environment(tasks(COUNT), made=made)
        walk_of(environment)
        walk_of(environment)
        assert len(made) == 1
        environment.close()
        assert made[0]._batch.env.closed
        walk_of(environment)
        assert len(made) == 2
        environment.close()

    def test_the_longest_unused_are_closed(self, closing):
        made = []
        environment = closing(tasks(COUNT), made=made, max_batches=2)
        for order in ([0, 1], [1, 0], [0, 1], [2, 2]):
            environment.reset(KEYS[:2], HostTasks(np.array(order, np.int32)))
        assert [batch._batch.env.closed for batch in made] == [False, True, False]

    def test_other_tasks_go_on_meanwhile(self, closing):
        environment = closing(tasks(COUNT))
        alone = walk_of(environment)
        state, first = environment.reset(KEYS, TASKS)
        steps = []
        for time_index, action in enumerate(ACTIONS):
            other = HostTasks(np.array([time_index % 2], np.int32))
            environment.reset(KEYS[:1], other)
            state, step = environment.step(KEYS, state, action, TASKS)
            steps.append(step)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        assert_equal((first, stacked), alone)

    def test_a_state_from_before_a_reset_is_refused(self, closing):
        environment = closing(tasks(COUNT))
        state, _ = environment.reset(KEYS, TASKS)
        environment.reset(KEYS, TASKS)
        with pytest.raises(HostEnvironmentError, match="after a later reset of the same tasks"):
            environment.step(KEYS, state, ACTIONS[0], TASKS)

    def test_a_state_steps_once(self, closing):
        environment = closing(tasks(COUNT))
        state, _ = environment.reset(KEYS, TASKS)
        environment.step(KEYS, state, ACTIONS[0], TASKS)
        with pytest.raises(HostEnvironmentError, match="a state was stepped twice"):
            environment.step(KEYS, state, ACTIONS[0], TASKS)

    def test_a_state_whose_environments_were_closed_is_refused(self, closing):
        environment = closing(tasks(COUNT), max_batches=1)
        state, _ = environment.reset(KEYS, TASKS)
        environment.reset(KEYS[:1], HostTasks(np.zeros(1, np.int32)))
        with pytest.raises(HostEnvironmentError, match="too many other resets"):
            environment.step(KEYS, state, ACTIONS[0], TASKS)


def fails(environment, match, actions=ACTIONS, run=compiled_walk):
    """A walk through to the end, with one error of one line after it."""
    started = time.monotonic()
    with pytest.raises(HostEnvironmentError, match=match) as caught:
        walk_of(environment, actions, run=run)
    assert time.monotonic() - started < 20
    assert "\n" not in str(caught.value)
    assert not left_running()
    environment.check()  # once is enough
    return caught.value


WHATS = {
    "raise": "ValueError: broken on purpose",
    "nan observation": "observation is NaN or infinite",
    "huge observation": "observation is NaN or infinite",
    "nan reward": "reward is NaN or infinite",
    "shape": r"ValueError: observation has shape \(4,\); \(3,\) was declared",
    "reward shape": r"ValueError: reward has shape \(2,\); it must be one number",
    "hang": "no answer within 1 s$",
    "hang in C": "no answer within 1 s",
    "sys.exit": "SystemExit: 3",
    "no info": 'info has no "success"',
}


class TestFaults:
    """Task P2 is environment 1 and fails at its sixth step."""

    @pytest.mark.parametrize(
        ("vectorization", "fault"),
        [
            *(("sync", fault) for fault in WHATS if fault != "hang in C"),  # that one is below
            ("async", "raise"),
            ("async", "hang in C"),
            *(
                pytest.param("async", fault, marks=pytest.mark.slow)
                for fault in WHATS
                if fault not in ("raise", "hang in C")
            ),
        ],
    )
    def test_one_error_and_nothing_left(self, fault, vectorization, capfd):
        limit = 1.0 if "hang" in fault else 30.0
        environment = host_environment(
            with_fault(fault, count=COUNT), vectorization=vectorization, time_limit=limit
        )
        where = rf'environment "Probe" \({vectorization}\), task P2, environment 1, step 6: '
        fails(environment, "^" + where + WHATS[fault])
        # The same object works again, up to the step that fails.
        fine = host_environment(tasks(COUNT))
        again = walk_of(environment, ACTIONS[:5], run=python_walk)
        assert_equal(again, walk_of(fine, ACTIONS[:5], run=python_walk))
        environment.close()
        fine.close()
        assert capfd.readouterr().err == ""

    def test_every_fault_of_the_list_is_tried(self):
        assert set(FAULTS) <= set(WHATS)

    @pytest.mark.slow
    def test_a_hang_outside_python_in_this_process_is_named_and_left_alone(self, capfd):
        environment = host_environment(with_fault("hang in C", count=COUNT), time_limit=1.0)
        with pytest.raises(
            HostEnvironmentError,
            match=r"task P2, environment 1, step 6: no answer within 1 s; it could not be "
            "stopped within this process and may still run",
        ):
            walk_of(environment)
        assert len(left_running()) == 1
        # Others are made: nobody touches those that hang.
        walk_of(environment, ACTIONS[:5], run=python_walk)
        environment.close()
        ends = time.monotonic() + 20
        while left_running() and time.monotonic() < ends:
            time.sleep(0.1)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("vectorization", ["sync", "async"])
    @pytest.mark.parametrize("fault", ["raise in init", "raise in reset"])
    def test_at_the_start_and_at_a_reset(self, fault, vectorization):
        # The second episode of P2 begins with its fifth step.
        moment = "reset: ValueError: cannot be made"
        if fault == "raise in reset":
            moment = "step 5: ValueError: cannot be reset"
        table = with_fault(fault, count=COUNT)
        environment = host_environment(table, vectorization=vectorization)
        fails(environment, f"task P2, environment 1, {moment}$")

    @pytest.mark.parametrize("vectorization", ["sync", "async"])
    def test_a_fault_outside_a_program_raises_at_once(self, vectorization):
        environment = host_environment(
            with_fault("raise", count=COUNT), vectorization=vectorization
        )
        state, _ = environment.reset(KEYS, TASKS)
        for action in ACTIONS[:5]:
            state, _ = environment.step(KEYS, state, action, TASKS)
        with pytest.raises(HostEnvironmentError, match="step 6: ValueError: broken on purpose"):
            environment.step(KEYS, state, ACTIONS[5], TASKS)

    def test_the_cause_is_shown(self):
        error = fails(host_environment(with_fault("raise", count=COUNT)), "broken")
        assert isinstance(error.__cause__, ValueError)
        environment = host_environment(with_fault("raise", count=COUNT), vectorization="async")
        assert "host_probes.py" in str(fails(environment, "broken").__cause__)

    def test_steps_after_it_are_masked_and_at_an_end(self):
        environment = host_environment(with_fault("raise", count=COUNT))
        steps = compiled_walk(environment, KEYS, TASKS, ACTIONS)[2]
        assert np.asarray(steps.valid[:5]).all()
        assert not np.asarray(steps.valid[5:]).any()
        assert np.asarray(steps.terminated[5:]).all()
        for leaf in (steps.observation, steps.final_observation, steps.reward):
            assert not np.asarray(leaf[5:]).any()
        with pytest.raises(HostEnvironmentError):
            environment.check()

    def test_a_fault_that_nobody_asked_for_comes_with_the_next_reset(self):
        environment = host_environment(with_fault("raise", count=COUNT))
        jax.block_until_ready(compiled_walk(environment, KEYS, TASKS, ACTIONS))
        with pytest.raises(HostEnvironmentError, match="step 6"):
            environment.reset(KEYS, TASKS)

    def test_close_forgets_a_fault(self):
        environment = host_environment(with_fault("raise", count=COUNT))
        jax.block_until_ready(compiled_walk(environment, KEYS, TASKS, ACTIONS))
        environment.close()
        walk_of(environment, ACTIONS[:5])
        environment.close()

    def test_a_fault_while_closing(self):
        environment = host_environment(with_fault("raise in close", count=COUNT))
        walk_of(environment)
        with pytest.raises(HostEnvironmentError, match="close: ValueError: cannot be closed"):
            environment.close()
        environment.close()

    def test_a_process_that_dies(self):
        environment = host_environment(with_fault("dies", count=COUNT), vectorization="async")
        fails(environment, r"task P2, environment 1, step 6: its process ended \(exit code 7\)$")


class Fake:
    """A batch whose steps are given; observations are [B, 3]."""

    def __init__(self, step, start=None):
        self.given, self.start = step, np.zeros((COUNT, 3)) if start is None else start

    def reset(self, seeds):
        return self.start

    def step(self, action):
        return self.given

    def close(self):
        pass

    def where(self):
        return None


def fake_step(**changes):
    values = {
        "observation": np.ones((COUNT, 3)),
        "reward": np.zeros(COUNT),
        "terminated": np.zeros(COUNT, bool),
        "truncated": np.zeros(COUNT, bool),
        "info": {"success": np.zeros(COUNT)},
    }
    return HostStep(**{**values, **changes})


def fake_environment(step, start=None, **options):
    return HostEnvironment(
        "Fake",
        lambda rows: Fake(step, start),
        **{
            "observation_shape": (3,),
            "action_space": Discrete(2),
            "max_episode_steps": 5,
            "task_names": ["a", "b", "c"],
            "backend": "none",
            "info_names": ("success",),
            **options,
        },
    )


class TestBatchesOfOthers:
    """What a batch written by somebody else may get wrong."""

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"observation": np.ones((COUNT, 4))}, r"observation has shape \(3, 4\)"),
            ({"observation": np.ones((2, 3))}, r"observation has shape \(2, 3\)"),
            ({"final_observation": np.ones(3)}, r"observation has shape \(3,\)"),
            ({"reward": np.zeros((COUNT, 1))}, r"reward has shape \(3, 1\); \(3,\) was declared"),
            ({"terminated": np.zeros(1, bool)}, r"end has shape \(1,\)"),
            ({"info": {}}, 'info has no "success"'),
            (
                {"info": {"success": np.zeros((COUNT, 2))}},
                r'info value "success" has shape \(3, 2\)',
            ),
            ({"info": {"success": np.full(COUNT, np.inf)}}, "info value is NaN or infinite"),
        ],
    )
    def test_shapes(self, changes, what):
        environment = fake_environment(fake_step(**changes))
        fails(environment, f'environment "Fake" .none., .*step 1: {what}', run=python_walk)

    def test_at_a_reset(self):
        fails(
            fake_environment(fake_step(), start=np.zeros((COUNT, 2))),
            r"one of 3 tasks, reset: observation has shape \(3, 2\); \(3, 3\) was declared",
        )
        start = np.zeros((COUNT, 3))
        start[2, 1] = np.nan
        fails(
            fake_environment(fake_step(), start=start),
            "task c, environment 2, reset: observation is NaN",
        )

    def test_a_reset_within_the_step_that_was_not_declared(self):
        environment = fake_environment(
            fake_step(final_observation=np.ones((COUNT, 3))), resets_in_step=False
        )
        fails(environment, "reset an environment within a step")

    def test_termination_wins_over_truncation(self):
        flags = np.array([True, False, True])
        environment = fake_environment(fake_step(terminated=flags, truncated=~flags | flags))
        _, steps = walk_of(environment, ACTIONS[:1])
        environment.close()
        np.testing.assert_array_equal(steps.terminated[0], flags)
        np.testing.assert_array_equal(steps.truncated[0], ~flags)

    def test_limits(self):
        for name in ("time_limit", "start_limit", "max_batches"):
            with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0"):
                fake_environment(fake_step(), **{name: 0})
        environment = fake_environment(fake_step(), time_limit=math.inf, start_limit=math.inf)
        walk_of(environment)
        environment.close()


class TestPythonLoops:
    def test_tracing_says_what_to_do(self):
        environment = host_environment(tasks(COUNT), loop="python")
        assert environment.runs_in_python
        with pytest.raises(RuntimeError, match='"Probe" runs in a Python loop here; call the'):
            compiled_walk(environment, KEYS, TASKS, ACTIONS)

    def test_the_default_here_has_callbacks(self, recwarn):
        assert supports_callbacks()
        assert not host_environment(tasks(COUNT)).runs_in_python
        assert not recwarn

    def test_without_callbacks_there_is_one_message_and_the_same_steps(self, monkeypatch, closing):
        wanted = walk_of(closing(tasks(COUNT)))

        def missing(*_, **__):
            raise NotImplementedError("callbacks are not supported here")

        monkeypatch.setattr(host_bridge, "io_callback", missing)
        host_bridge.supports_callbacks.cache_clear()
        try:
            with pytest.warns(UserWarning, match=r"no host callbacks.*Python loop") as caught:
                environment, _ = (closing(tasks(COUNT)) for _ in range(2))
            assert len(caught) == 1
            assert environment.runs_in_python
            assert_equal(walk_of(environment), wanted)
        finally:
            host_bridge.supports_callbacks.cache_clear()

    def test_an_answer_that_is_wrong_counts_as_none(self, monkeypatch):
        monkeypatch.setattr(host_bridge, "io_callback", lambda *_, **__: jnp.float32(0))
        host_bridge.supports_callbacks.cache_clear()
        try:
            with pytest.warns(UserWarning, match="no host callbacks"):
                assert not supports_callbacks()
        finally:
            host_bridge.supports_callbacks.cache_clear()


class Interrupting(Task):
    """A task whose fault is Ctrl-C; sync only, for another process would interrupt itself."""

    def __call__(self):
        made = super().__call__()
        step = made.step

        def interrupt(action):
            if made.taken == 5:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)
            return step(action)

        made.step = interrupt
        return made


class TestInterrupts:
    @pytest.mark.parametrize("run", [compiled_walk, python_walk])
    def test_it_ends_the_program_and_everything_works_again(self, run, capfd):
        table = tasks(COUNT)
        table[1] = Interrupting(**vars(table[1]))
        environment = host_environment(table)
        with pytest.raises(KeyboardInterrupt):
            walk_of(environment, run=run)
        assert not left_running()
        walk_of(environment, ACTIONS[:5], run=run)
        environment.close()
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("vectorization", ["sync", "async"])
    def test_cancel_lets_a_program_run_out(self, vectorization):
        """As it is on an accelerator, where the program runs on while Python is interrupted."""
        table = [replace(task, fault="hang", at=3) for task in tasks(COUNT)]
        environment = host_environment(table, vectorization=vectorization)
        program = threading.Thread(
            target=lambda: jax.block_until_ready(compiled_walk(environment, KEYS, TASKS, ACTIONS))
        )
        program.start()
        while not (made := list(environment._calls._batches.values())) or made[0].steps < 3:
            time.sleep(0.01)
        started = time.monotonic()
        environment.cancel()
        program.join(10)
        assert not program.is_alive()
        assert time.monotonic() - started < 5
        environment.close()
        assert not left_running()
        walk_of(environment, ACTIONS[:2])
        environment.close()


def test_names_and_shapes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment = host_environment(tasks(COUNT, bounds=(0.0, 1.0)))
    assert environment.observation_shape == (3,)
    assert environment.action_space == Box(2)
    assert environment.max_episode_steps == LENGTH + COUNT - 1
    assert environment.info_names == ("success", "progress")
    assert (environment.name, environment.backend) == ("Probe", "sync")
    assert environment.reproducible
