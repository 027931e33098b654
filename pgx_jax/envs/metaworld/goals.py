"""Goals of Meta-World's tasks: which a family has, and environments that meet them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pgx_jax.envs.host.calls import HostBatch, HostStep
from pgx_jax.envs.metaworld.observation import encode
from pgx_jax.envs.metaworld.tasks import MT50

GOALS_PER_TASK = 50


class Goals(NamedTuple):
    """Rows of a family's table of tasks.

    Attributes:
        environment: Meta-World's name, such as "reach-v3".
        position: the source task that it is, or that it is a new goal of.
        seeds: int64[goals], one seed a goal.
    """

    environment: str
    position: int
    seeds: np.ndarray


def goal_table(environments: Sequence[str], num_test_tasks: int, seed: int) -> list[Goals]:
    """Goals of the source tasks, then of the held-out tasks.

    Args:
        environments: source tasks, Meta-World's names.
        num_test_tasks: held-out tasks: source tasks in turn, each with a new goal.
        seed: of the goals; those of a task do not depend on the other tasks.

    Returns:
        One row a task.
    """
    rounds = -(-num_test_tasks // len(environments))
    seeds = []
    for environment in environments:
        rng = np.random.default_rng([seed, MT50.index(environment)])
        seeds.append(rng.integers(2**31, size=GOALS_PER_TASK + rounds))
    source = [
        Goals(environment, position, seeds[position][:GOALS_PER_TASK])
        for position, environment in enumerate(environments)
    ]
    held_out = []
    for index in range(num_test_tasks):
        number, position = divmod(index, len(environments))
        goal = seeds[position][GOALS_PER_TASK + number :][:1]
        held_out.append(Goals(environments[position], position, goal))
    return [*source, *held_out]


class GoalBatch:
    """B Meta-World environments that meet the goals of their tasks.

    Around a batch of either backend, whose ``reset`` takes one goal's seed an environment.
    """

    def __init__(self, raw: HostBatch, rows: Sequence[Goals]) -> None:
        """Wrap a batch.

        Args:
            raw: the backend's environments.
            rows: each environment's task.
        """
        self._raw, self._rows = raw, rows
        self._generators: list[np.random.Generator] = []
        self._ended = False

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes; the seeds decide the goals of this episode and of the next ones."""
        self._generators = [np.random.default_rng(int(seed)) for seed in seeds]
        return self._start_episodes()

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments; the step after their episodes' last resets them all."""
        if self._ended:
            nothing = np.zeros(len(self._rows), np.float32)
            never = nothing.astype(bool)
            observation = self._start_episodes()
            return HostStep(
                observation, nothing, never, never, valid=never, info={"success": nothing}
            )
        step = self._raw.step(action)
        self._ended = bool(step.truncated.any())
        if self._ended and not step.truncated.all():
            raise RuntimeError("episodes of Meta-World did not end together")
        return step._replace(observation=encode(step.observation), valid=None)

    def close(self) -> None:
        """Free the environments."""
        self._raw.close()

    def where(self) -> int | None:
        """Index of the environment that is stepping right now, where that can be told."""
        return self._raw.where()

    def _start_episodes(self) -> np.ndarray:
        self._ended = False
        pairs = zip(self._generators, self._rows, strict=True)
        goals = np.array([generator.choice(row.seeds) for generator, row in pairs])
        return encode(self._raw.reset(goals))
