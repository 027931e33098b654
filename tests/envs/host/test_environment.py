"""The host bridge: what comes back, what is kept, and what happens when something goes wrong."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")

from pgx_jax.envs.base import Box
from pgx_jax.envs.host import bridge as host_bridge
from pgx_jax.envs.host.environment import HostEnvironmentError, HostTasks
from tests.envs.host.environments import (
    ACTIONS,
    COUNT,
    KEYS,
    STEPS,
    TASKS,
    assert_equal,
    compiled_walk,
    host_environment,
    left_running,
    python_walk,
    seed_of,
    walk_of,
)
from tests.envs.host.probes import LENGTH, play, tasks


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


class TestPythonLoops:
    def test_tracing_says_what_to_do(self):
        environment = host_environment(tasks(COUNT), loop="python")
        assert environment.runs_in_python
        with pytest.raises(RuntimeError, match='"Probe" runs in a Python loop here; call the'):
            compiled_walk(environment, KEYS, TASKS, ACTIONS)

    def test_the_default_here_has_callbacks(self, recwarn):
        assert host_bridge.supports_callbacks()
        assert not host_environment(tasks(COUNT)).runs_in_python
        assert not recwarn

    def test_without_callbacks_there_is_one_message_and_the_same_steps(self, monkeypatch, closing):
        wanted = walk_of(closing(tasks(COUNT)))

        def missing(*_, **__):
            raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: host callbacks")

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
                assert not host_bridge.supports_callbacks()
        finally:
            host_bridge.supports_callbacks.cache_clear()


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
