"""When something goes wrong on the host: one error with a name, and nothing left running."""

import math
import os
import signal
import threading
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

pytest.importorskip("gymnasium")

from pgx_jax.envs.base import Discrete
from pgx_jax.envs.host.environment import HostEnvironment, HostEnvironmentError, HostStep
from tests.envs.host.environments import (
    ACTIONS,
    COUNT,
    KEYS,
    TASKS,
    assert_equal,
    compiled_walk,
    host_environment,
    left_running,
    python_walk,
    walk_of,
)
from tests.envs.host.probes import FAULTS, Task, tasks, with_fault


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not left_running()


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

    def test_without_a_limit_there_is_no_other_thread_and_the_same_error(self):
        environment = host_environment(with_fault("raise", count=COUNT), time_limit=math.inf)
        fails(environment, "task P2, environment 1, step 6: ValueError: broken on purpose$")
        fine = host_environment(tasks(COUNT), time_limit=math.inf, start_limit=math.inf)
        assert_equal(walk_of(fine), walk_of(limited := host_environment(tasks(COUNT))))
        limited.close()
        assert not left_running()  # though this one is open
        fine.close()

    def test_the_cause_is_shown(self):
        error = fails(host_environment(with_fault("raise", count=COUNT)), "broken")
        assert isinstance(error.__cause__, ValueError)
        environment = host_environment(with_fault("raise", count=COUNT), vectorization="async")
        assert "probes.py" in str(fails(environment, "broken").__cause__)

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
