"""Gymnasium environments as a batch on the host: its vector environments, sync or async."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from pgx_jax.envs.base import ActionSpace, Box, Discrete
from pgx_jax.envs.host import HostStep

try:
    import gymnasium
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
except ImportError as error:
    raise ImportError(
        'this environment needs gymnasium: pip install "pgx_jax[gymnasium]"'
    ) from error

Vectorization = Literal["sync", "async"]


class Named(gymnasium.Wrapper):
    """Says which environment of a batch failed, and checks the shapes that it returns."""

    def __init__(self, env: gymnasium.Env, task_name: str, index: int) -> None:
        super().__init__(env)
        self._label = f"task {task_name}, environment {index}"
        self._steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, with a name on what goes wrong."""
        self._steps = 0
        try:
            observation, info = self.env.reset(**options)
        except Exception as error:
            raise RuntimeError(f"{self._label}, reset: {type(error).__name__}: {error}") from error
        self._check(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, with a name on what goes wrong."""
        self._steps += 1
        try:
            result = self.env.step(action)
        except Exception as error:
            raise RuntimeError(
                f"{self._label}, step {self._steps} of the episode: {type(error).__name__}: {error}"
            ) from error
        self._check(result[0])
        return result

    def _check(self, observation: Any) -> None:
        wanted = self.observation_space.shape
        if np.shape(observation) != wanted:
            raise RuntimeError(
                f"{self._label}, step {self._steps} of the episode: observation has shape "
                f"{np.shape(observation)}; {wanted} was declared"
            )


class GymnasiumBatch:
    """B Gymnasium environments, one a task, stepped by one of Gymnasium's vector environments.

    "sync" steps them in turn in this process; "async" gives each a process of its own, by
    forkserver or spawn (a fork under JAX can deadlock), and can stop one that hangs.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        task_names: Sequence[str],
        *,
        vectorization: Vectorization = "sync",
        context: Literal["forkserver", "spawn"] = "forkserver",
        same_step: bool = True,
        info_names: tuple[str, ...] = (),
    ) -> None:
        """Make the environments.

        Args:
            makers: one function an environment; picklable for "async".
            task_names: one an environment, for messages.
            vectorization: "sync" or "async".
            context: how processes start.
            same_step: reset within an episode's last step; else in the step after it.
            info_names: values of ``info`` to carry.
        """
        self._info_names = info_names
        self._same_step = same_step
        self._dead = np.zeros(len(makers), bool)
        named = [
            _NamedMaker(maker, name, index)
            for index, (maker, name) in enumerate(zip(makers, task_names, strict=True))
        ]
        mode = AutoresetMode.SAME_STEP if same_step else AutoresetMode.NEXT_STEP
        self._async = vectorization == "async"
        self.env: Any = (
            AsyncVectorEnv(named, context=context, autoreset_mode=mode)
            if self._async
            else SyncVectorEnv(named, autoreset_mode=mode)
        )
        space = self.env.single_action_space
        self._scale = (
            (np.asarray(space.low, np.float64), np.asarray(space.high, np.float64))
            if isinstance(space, gymnasium.spaces.Box)
            else None
        )
        self._offset = int(getattr(space, "start", 0))

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes."""
        observation, _ = self.env.reset(seed=[int(seed) for seed in seeds])
        self._dead[:] = False
        return np.asarray(observation, np.float32)

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments."""
        if self._scale is not None:
            low, high = self._scale
            shaped = action.reshape(-1, *low.shape)
            action = (low + (shaped + 1.0) / 2.0 * (high - low)).astype(
                self.env.single_action_space.dtype
            )
        elif self._offset:
            action = action + self._offset
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = np.asarray(observation, np.float32)
        valid = ~self._dead
        done = terminated | truncated
        final = observation
        final_info: dict[str, Any] = {}
        if self._same_step and done.any():
            final = observation.copy()
            for index in np.flatnonzero(done):
                final[index] = info["final_obs"][index]
            final_info = info["final_info"]
        elif not self._same_step:
            self._dead = done.copy()
        return HostStep(
            observation,
            np.where(valid, reward, 0.0),
            terminated,
            truncated,
            final,
            valid,
            {name: self._info(name, info, final_info, done) for name in self._info_names},
        )

    def close(self) -> None:
        """Close the environments; processes that do not answer are killed."""
        if self._async:
            self.env.close(terminate=True)
        else:
            self.env.close()

    def where(self) -> int | None:
        """The one environment that has not answered, where each has its own process."""
        if not self._async:
            return None
        silent = [i for i, pipe in enumerate(self.env.parent_pipes) if not pipe.poll()]
        return silent[0] if silent else None

    def _info(
        self, name: str, info: dict[str, Any], final_info: dict[str, Any], done: np.ndarray
    ) -> np.ndarray:
        values = np.asarray(info.get(name, np.zeros(len(done))), np.float32)
        if name in final_info:
            values = np.where(done, np.asarray(final_info[name], np.float32), values)
        return values


class _NamedMaker:
    """Makes a named environment; picklable where the maker is."""

    def __init__(self, maker: Callable[[], gymnasium.Env], name: str, index: int) -> None:
        self._maker, self._name, self._index = maker, name, index

    def __call__(self) -> gymnasium.Env:
        return Named(self._maker(), self._name, self._index)


def action_space_of(space: Any, name: str) -> ActionSpace:
    """Gymnasium's action space as ours.

    Raises:
        ValueError: neither discrete nor a bounded box.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and space.is_bounded():
        return Box(int(np.prod(space.shape)))
    raise ValueError(
        f'environment "{name}" has actions {space}; only Discrete and bounded Box are supported'
    )


def vectorization_of(backend: str) -> Vectorization:
    """How a Gymnasium backend steps its environments.

    Raises:
        ValueError: an unknown backend.
    """
    known: dict[str, Vectorization] = {"gymnasium": "sync", "gymnasium-async": "async"}
    if backend not in known:
        raise ValueError(f'unknown backend "{backend}"; known: {", ".join(known)}')
    return known[backend]
