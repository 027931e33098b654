"""Meta-World environments of the ``metaworld`` package itself, as a batch on the host."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from pgx_jax.envs.host.calls import HostStep

try:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.types import Task
except ImportError as error:
    raise ImportError(
        'this environment needs metaworld: pip install "pgx_jax[metaworld]"'
    ) from error

_APART = {
    "assembly-v3": 0.1,
    "basketball-v3": 0.15,
    "box-close-v3": 0.25,
    "coffee-pull-v3": 0.15,
    "coffee-push-v3": 0.15,
    "disassemble-v3": 0.1,
    "hand-insert-v3": 0.15,
    "peg-insert-side-v3": 0.1,
    "pick-out-of-hole-v3": 0.15,
    "pick-place-v3": 0.15,
    "pick-place-wall-v3": 0.15,
    "push-back-v3": 0.15,
    "push-v3": 0.15,
    "push-wall-v3": 0.15,
    "reach-v3": 0.15,
    "reach-wall-v3": 0.15,
    "shelf-place-v3": 0.1,
    "soccer-v3": 0.15,
    "stick-pull-v3": 0.1,
    "stick-push-v3": 0.1,
    "sweep-into-v3": 0.15,
}
"""Least distance in the plane, m, between object and goal; closer draws are drawn again."""

_FIXED_GOAL = {"sweep-into-v3": (0.0, 0.84)}
"""Goals that the draw does not move, x and y in m."""


def draw_goal(environment: str, low: np.ndarray, high: np.ndarray, seed: int) -> np.ndarray:
    """The positions that EnvPool's environment draws at its first reset from a seed.

    As the C++ library does it: ``std::mt19937`` feeds ``std::uniform_real_distribution<double>``,
    which takes two words a number, the low one first (GCC's ``libstdc++``).

    Args:
        environment: Meta-World's name.
        low: float[3 or 6], least positions of object and goal, m.
        high: float[3 or 6], greatest.
        seed: of the goal, 0 to 2**31 - 1.

    Returns:
        float64[3 or 6], what Meta-World calls the random vector.
    """
    # Only the old interface seeds as std::mt19937 does.
    generator = np.random.RandomState(seed)
    while True:
        words = generator.randint(0, 2**32, size=(len(low), 2), dtype=np.uint32).astype(float)
        positions = low + (high - low) * (words[:, 0] + words[:, 1] * 2.0**32) / 2.0**64
        goal = _FIXED_GOAL.get(environment, positions[3:5])
        apart = _APART.get(environment)
        if apart is None or np.linalg.norm(positions[:2] - goal) >= apart:
            return positions


def make_environment(name: str, render_size: int | None = None) -> Any:
    """One environment with V2 rewards, as ``metaworld`` has it; it has no goal yet.

    Args:
        name: Meta-World's name, such as "reach-v3".
        render_size: width and height of its frames, in pixels; None does not draw.

    Returns:
        The Gymnasium environment.
    """
    options: dict[str, Any] = {}
    if render_size:
        # This camera sees arm, table and goal.
        options = {"render_mode": "rgb_array", "camera_name": "corner2"}
        options |= {"width": render_size, "height": render_size}
    return ALL_V3_ENVIRONMENTS[name](reward_function_version="v2", **options)


def set_goal(environment: Any, name: str, seed: int) -> None:
    """Let an environment start all its episodes with the goal of a seed, and observe it.

    Args:
        environment: from :func:`make_environment`.
        name: of the environment.
        seed: of the goal.
    """
    space = environment._random_reset_space
    task = {
        "rand_vec": draw_goal(name, space.low, space.high, seed),
        "env_cls": type(environment),
        "partially_observable": False,
    }
    # Meta-World keeps a task's settings pickled.
    environment.set_task(Task(env_name=name, data=pickle.dumps(task)))


class MetaWorldBatch:
    """B environments of the ``metaworld`` package, stepped in turn in this process."""

    def __init__(self, environments: Sequence[str]) -> None:
        """Make the environments.

        Args:
            environments: Meta-World's names, such as "reach-v3".
        """
        self._names = tuple(environments)
        self._envs = [make_environment(name) for name in self._names]
        self._index: int | None = None

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes, each with the goal of its seed -> float64[B, 39]."""
        return np.stack([self._reset_one(index, int(seed)) for index, seed in enumerate(seeds)])

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments; none resets itself."""
        results = [self._step_one(index, row) for index, row in enumerate(action)]
        observation, reward, terminated, truncated, info = zip(*results, strict=True)
        self._index = None
        return HostStep(
            np.stack(observation),
            np.array(reward, np.float32),
            np.array(terminated, bool),
            np.array(truncated, bool),
            info={"success": np.array([values["success"] for values in info], np.float32)},
        )

    def close(self) -> None:
        """Free the simulations."""
        for env in self._envs:
            env.close()
        self._envs.clear()

    def where(self) -> int | None:
        """Index of the environment at work, None between calls."""
        return self._index

    def _reset_one(self, index: int, seed: int) -> np.ndarray:
        self._index = index
        set_goal(self._envs[index], self._names[index], seed)
        observation, _ = self._envs[index].reset()
        self._index = None
        return observation

    def _step_one(self, index: int, action: np.ndarray) -> tuple:
        self._index = index
        return self._envs[index].step(np.asarray(action, np.float32))
