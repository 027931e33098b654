"""Waiting for a program on environments of the host."""

import jax
import jax.numpy as jnp
import pytest

from pgx_jax.rl import loops


class Slow:
    """An array that is ready late, as on an accelerator."""

    def __init__(self, times):
        self.times = times

    def is_ready(self):
        self.times -= 1
        if self.times == 0:
            raise KeyboardInterrupt
        return False

    def block_until_ready(self):
        return self


class Recorder:
    """A host environment that notes what is asked of it."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda: self.asked.append(name)


class TestWaiting:
    def test_an_interrupt_while_waiting_cancels_and_closes(self):
        environment = Recorder()
        with pytest.raises(KeyboardInterrupt):
            loops.raise_faults(environment, {"a": Slow(3)})
        assert environment.asked == ["cancel", "close"]

    def test_else_it_checks(self):
        environment = Recorder()
        loops.raise_faults(environment, {"a": jnp.ones(2), "key": jax.random.key(0), "b": 1.0})
        assert environment.asked == ["check"]

    def test_environments_in_jax_are_left_alone(self):
        loops.raise_faults(object(), {"a": Slow(1)})
