"""An environment from outside the package: one module, one entry."""

from dataclasses import dataclass

import jax.numpy as jnp
import pytest

from pgx_jax.envs.base import Discrete, TaskFamily, TimeStep
from pgx_jax.envs.families import FAMILIES, FamilyEntry
from tests.extension.tiny import tiny_run


@dataclass(frozen=True)
class Guess:
    """Ten steps of guessing which of two arms pays; a task is the arm."""

    observation_shape: tuple[int, ...] = (2,)
    max_episode_steps: int = 10
    info_names: tuple[str, ...] = ()

    @property
    def action_space(self):
        return Discrete(2)

    def reset(self, keys, tasks):
        return jnp.zeros(keys.shape[0], jnp.int32), jnp.ones((keys.shape[0], 2))

    def step(self, keys, state, action, tasks):
        time = state + 1
        done = time >= self.max_episode_steps
        seen = jnp.ones((keys.shape[0], 2))
        never = jnp.zeros_like(done)
        reward = (action == tasks).astype(jnp.float32)
        step = TimeStep(seen, reward, never, done, seen, ~never, {})
        return jnp.where(done, 0, time), step


def guess(num_tasks=10, num_test_tasks=50, seed=0):
    del seed
    return TaskFamily(
        name="guess",
        environment=Guess(),
        train_tasks=jnp.arange(num_tasks) % 2,
        test_tasks=jnp.arange(num_test_tasks) % 2,
        train_names=tuple(f"arm {task % 2}, {task}" for task in range(num_tasks)),
        description="which of two arms pays",
        groups=jnp.arange(num_tasks) % 2,
    )


@pytest.fixture(scope="module", autouse=True)
def registered():
    FAMILIES.register("guess", FamilyEntry(maker=guess, summary="two arms, one pays"))


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, "guess", num_steps=256, meta_steps=1_000, group_steps=20_000)
    assert report["environment_description"] == "which of two arms pays"
    assert report["adjusted_rand_index"] == 1.0
    assert report["scores"]["policygradex"]["source"]["mean"] > 8.0
