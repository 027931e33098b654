"""A training algorithm from outside the package: REINFORCE on PPO's rollouts and critic."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from pgx_jax.rl.algorithms import ALGORITHMS, PPOConfig
from tests.extension.tiny import tiny_run


@dataclass(frozen=True)
class ReinforceSettings:
    """One gradient step an update on the whole batch, its ratio not clipped."""

    name: ClassVar[str] = "reinforce"
    num_envs: int = 20
    num_steps: int = 16
    learning_rate: float = 3e-3

    def make(self, environment, network, num_tasks):
        settings = PPOConfig(
            num_envs=self.num_envs,
            num_steps=self.num_steps,
            num_epochs=1,
            num_minibatches=1,
            learning_rate=self.learning_rate,
            clip=1e6,
        )
        return Reinforce(settings.make(environment, network, num_tasks))


@dataclass(frozen=True)
class Reinforce:
    inner: object

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


@pytest.fixture(scope="module", autouse=True)
def registered():
    ALGORITHMS.register("reinforce", ReinforceSettings())


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, algorithm="reinforce")
    assert report["config"]["algorithm"] == "reinforce"
    assert report["config"]["reinforce"]["num_steps"] == 16
    assert report["env_steps"]["policygradex"]["meta"] % (20 * 16) == 0
    assert np.isfinite(report["scores"]["policygradex"]["source"]["mean"])
