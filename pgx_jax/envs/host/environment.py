"""The host bridge: environments that run outside JAX, behind the batched protocol.

The host's part is in ``calls`` and knows NumPy alone; JAX's is in ``bridge`` and is
imported when an environment is made, so that a process which only steps environments (an
"async" backend's) can import a family's module without JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pgx_jax.envs.base import ActionSpace, Box, TimeStep
from pgx_jax.envs.host.calls import (
    EnvironmentFault,
    HostBatch,
    HostCalls,
    HostEnvironmentError,
    HostSettings,
    HostStep,
)

if TYPE_CHECKING:
    from jax import Array

__all__ = [
    "EnvironmentFault",
    "HostBatch",
    "HostEnvironment",
    "HostEnvironmentError",
    "HostState",
    "HostStep",
    "HostTasks",
]


class HostTasks(NamedTuple):
    """Tasks of a family on the host.

    Attributes:
        index: int32[...], row of the family's table of tasks.
    """

    index: Any


class HostState(NamedTuple):
    """What stands for B environments inside a program.

    Attributes:
        token: int32[2], number of the reset that they started from, and steps since.
    """

    token: Array


class HostEnvironment:
    """Environments on the host behind the batched protocol.

    Environments are kept between resets, by the tasks that they hold. They only go on: a state can
    be stepped once, until the next reset of the same tasks or until ``max_batches`` other task
    lists have been reset.

    A fault does not raise where it happens, inside a program: the steps that follow are masked,
    and ``check``, which the functions of ``pgx_jax.rl`` call when they have finished, raises
    HostEnvironmentError. A loop of your own has to call it itself.

    Attributes:
        name: for messages and reports.
        backend: what runs the environments.
        reproducible: whether equal keys give equal episodes, from a reset on.
    """

    def __init__(
        self,
        name: str,
        make_batch: Callable[[np.ndarray], HostBatch],
        *,
        observation_shape: tuple[int, ...],
        action_space: ActionSpace,
        max_episode_steps: int,
        task_names: Sequence[str],
        backend: str,
        info_names: tuple[str, ...] = (),
        resets_in_step: bool = True,
        reproducible: bool = True,
        time_limit: float = 60.0,
        start_limit: float = 600.0,
        max_batches: int = 4,
        loop: Literal["auto", "python"] = "auto",
    ) -> None:
        """Describe the environments; none is made before the first reset.

        Args:
            name: of the environment.
            make_batch: int64[B] rows of the task table -> B environments.
            observation_shape: shape of one observation.
            action_space: what an action is.
            max_episode_steps: steps after which an episode is truncated.
            task_names: one a row of the task table.
            backend: what runs the environments.
            info_names: values that every step reports.
            resets_in_step: False where the step after an episode's last only resets.
            reproducible: whether equal keys give equal episodes.
            time_limit: seconds that a batched step may take. ``math.inf`` sets no limit and saves
                two changes of thread a step, which is what the limit costs.
            start_limit: seconds that a reset may take, with making the environments.
            max_batches: task lists whose environments are kept.
            loop: "python" never uses callbacks; "auto" does where the runtime has them.

        Raises:
            ValueError: a limit is not above 0.
        """
        for what, limit in (
            ("time_limit", time_limit),
            ("start_limit", start_limit),
            ("max_batches", max_batches),
        ):
            if not limit > 0:
                raise ValueError(f"{what} is {limit}; it must be above 0")
        self.name, self.backend, self.reproducible = name, backend, reproducible
        self._observation_shape = tuple(observation_shape)
        self._action_space = action_space
        self._max_episode_steps = max_episode_steps
        self._info_names = tuple(info_names)
        self._settings = HostSettings(
            name,
            backend,
            make_batch,
            self._observation_shape,
            action_space.size if isinstance(action_space, Box) else None,
            tuple(task_names),
            self._info_names,
            resets_in_step,
            time_limit,
            start_limit,
            max_batches,
        )
        self._calls = HostCalls(self._settings)
        from pgx_jax.envs.host import bridge

        # Found out here: inside a trace it could not be tried.
        self._runs_in_python = loop == "python" or not bridge.supports_callbacks()

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self._observation_shape

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        return self._action_space

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return self._max_episode_steps

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports."""
        return self._info_names

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the table's rows, source tasks first."""
        return self._settings.task_names

    @property
    def runs_in_python(self) -> bool:
        """True where rollouts are to be Python loops, for want of callbacks."""
        return self._runs_in_python

    def reset(self, keys: Array, tasks: HostTasks) -> tuple[HostState, Array]:
        """Start B episodes -> state, observation float[B, ...]."""
        from pgx_jax.envs.host import bridge

        size = keys.shape[0] * self._settings.size + 1
        answer = self._on_host(self._calls.reset, bridge.pack_reset(keys, tasks.index), size)
        token, observation = bridge.unpack_reset(answer, shape=self._observation_shape)
        return HostState(token), observation

    def step(
        self, keys: Array, state: HostState, action: Array, tasks: HostTasks
    ) -> tuple[HostState, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        from pgx_jax.envs.host import bridge

        del tasks
        settings = self._settings
        packed, token = bridge.pack_step(
            state.token, action, bounded=settings.action_size is not None
        )
        size = keys.shape[0] * settings.width
        answer = self._on_host(self._calls.step, packed, size)
        return HostState(token), bridge.unpack_step(
            answer.reshape(keys.shape[0], settings.width),
            shape=self._observation_shape,
            copies=2 if settings.resets_in_step else 1,
            info_names=self._info_names,
        )

    def check(self) -> None:
        """Raise what went wrong on the host since the last check, and free everything.

        Raises:
            HostEnvironmentError: an environment failed.
            KeyboardInterrupt: it was interrupted.
        """
        self._calls.check()

    def cancel(self) -> None:
        """Have a program that is running step on without its environments, to its end."""
        self._calls.cancel()

    def close(self) -> None:
        """Free all environments and forget what went wrong; the next reset makes new ones.

        Raises:
            HostEnvironmentError: an environment failed to close.
        """
        self._calls.close()

    def _on_host(self, function: Callable, packed: Array, size: int) -> Array:
        from pgx_jax.envs.host import bridge

        if bridge.traced(packed):
            if self.runs_in_python:
                raise RuntimeError(
                    f'environment "{self.name}" runs in a Python loop here; call the functions of '
                    "pgx_jax.rl outside jit"
                )
            return bridge.on_host(function, packed, size, in_python=False)
        # Nothing is traced: no callback is needed, and a fault can raise at once.
        if not self.runs_in_python:
            bridge.wait_for_callbacks()
        self.check()
        answer = bridge.on_host(function, packed, size, in_python=True)
        self.check()
        return answer
