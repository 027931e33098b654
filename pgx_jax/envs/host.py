"""The host bridge: environments that run outside JAX, behind the batched protocol.

This is the only file that calls back to the host. Every batched step is one ordered callback with
one array in and one array out, so that an accelerator pays one copy each way. Inside the callback
everything is NumPy. A fault never raises out of a callback, where the runtime would wrap it beyond
recognition: it is kept, the steps that follow are masked, and :meth:`HostEnvironment.check`, which
the functions of ``pgx_jax.rl`` call when they have finished, raises it.
"""

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import io_callback

from pgx_jax.envs.base import ActionSpace, Box, TimeStep
from pgx_jax.envs.watch import TimedOutError, TimedWorker

_TERMINATED, _TRUNCATED, _VALID = 1, 2, 4


class HostEnvironmentError(RuntimeError):
    """An environment on the host raised, returned nonsense, or did not return."""


class HostStep(NamedTuple):
    """What a batch on the host returns from a step, in NumPy.

    Attributes:
        observation: float[B, ...], to act on next.
        reward: float[B].
        terminated: bool[B].
        truncated: bool[B].
        final_observation: float[B, ...], what this step led to; None where ``observation`` is
            it (environments that reset on the step after the last).
        valid: bool[B], False for a step that only reset its environment; None if all are valid.
        info: float[B] by name.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray | None = None
    valid: np.ndarray | None = None
    info: dict[str, np.ndarray] | None = None


class HostBatch(Protocol):
    """B environments on the host, each with its own task for good."""

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start B episodes from int64[B] seeds -> observation float[B, ...]."""
        ...

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all of them; those that finished are reset, now or on their next step."""
        ...

    def close(self) -> None:
        """Free processes and memory, also after a fault."""
        ...

    def where(self) -> int | None:
        """Index of the environment that is stepping right now, where that can be told."""
        ...


class HostTasks(NamedTuple):
    """Tasks of a family on the host.

    Attributes:
        index: int32[...], row of the family's table of tasks.
    """

    index: Array


class HostState(NamedTuple):
    """What stands for B environments inside a program.

    Attributes:
        token: int32[2], number of the reset that they started from, and steps since.
    """

    token: Array


class HostEnvironment:
    """Environments on the host behind the batched protocol.

    Environments are kept between resets, by the tasks that they hold; a state is only good until
    the next reset of the same tasks, or until ``max_batches`` other task lists have been reset.

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
            time_limit: seconds that a step may take.
            start_limit: seconds that a reset may take, with making the environments.
            max_batches: task lists whose environments are kept.
            loop: "python" never uses callbacks; "auto" does where the runtime has them.
        """
        self.name, self.backend, self.reproducible = name, backend, reproducible
        self._make_batch = make_batch
        self._observation_shape = observation_shape
        self._action_space = action_space
        self._max_episode_steps = max_episode_steps
        self._task_names = tuple(task_names)
        self._info_names = info_names
        self._resets_in_step = resets_in_step
        self._time_limit, self._start_limit = time_limit, start_limit
        self._max_batches = max_batches
        # Found out here: inside a trace it could not be tried.
        self._runs_in_python = loop == "python" or not supports_callbacks()
        self._batches: OrderedDict[bytes, _Kept] = OrderedDict()
        self._resets = 0
        self._failure: HostEnvironmentError | None = None
        self._worker: TimedWorker | None = None

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
    def runs_in_python(self) -> bool:
        """True where rollouts are to be Python loops, for want of callbacks."""
        return self._runs_in_python

    def reset(self, keys: Array, tasks: HostTasks) -> tuple[HostState, Array]:
        """Start B episodes -> state, observation float[B, ...]."""
        num_envs = keys.shape[0]
        seeds = jax.vmap(lambda key: jax.random.bits(key) >> 1)(keys).astype(jnp.int32)
        packed = jnp.concatenate([jnp.asarray(tasks.index, jnp.int32), seeds])
        size = math.prod(self._observation_shape)
        answer = self._on_host(self._reset, packed, num_envs * size + 1)
        token = jnp.stack([answer[-1].astype(jnp.int32), jnp.zeros((), jnp.int32)])
        return HostState(token), answer[:-1].reshape(num_envs, *self._observation_shape)

    def step(
        self, keys: Array, state: HostState, action: Array, tasks: HostTasks
    ) -> tuple[HostState, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        del tasks
        num_envs = keys.shape[0]
        if isinstance(self._action_space, Box):
            action = jnp.clip(action, -1.0, 1.0).astype(jnp.float32)
            bits = jax.lax.bitcast_convert_type(action, jnp.int32).reshape(-1)
        else:
            bits = action.astype(jnp.int32)
        size = math.prod(self._observation_shape)
        copies = 2 if self._resets_in_step else 1
        width = copies * size + 2 + len(self._info_names)
        packed = jnp.concatenate([state.token, bits])
        answer = self._on_host(self._step, packed, num_envs * width).reshape(num_envs, width)
        observation = answer[:, :size].reshape(num_envs, *self._observation_shape)
        final = answer[:, (copies - 1) * size : copies * size].reshape(observation.shape)
        reward, flags, *info = (answer[:, column] for column in range(copies * size, width))
        flags = flags.astype(jnp.int32)
        return HostState(state.token + jnp.array([0, 1], jnp.int32)), TimeStep(
            observation=observation,
            reward=reward,
            terminated=(flags & _TERMINATED) > 0,
            truncated=(flags & _TRUNCATED) > 0,
            final_observation=final,
            valid=(flags & _VALID) > 0,
            info=dict(zip(self._info_names, info, strict=True)),
        )

    def check(self) -> None:
        """Raise what went wrong on the host since the last check, and free everything."""
        failure, self._failure = self._failure, None
        if failure is not None:
            self.close()
            raise failure

    def close(self) -> None:
        """Free all environments; the next reset makes new ones."""
        while self._batches:
            _, kept = self._batches.popitem()
            kept.batch.close()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _on_host(self, function: Callable, packed: Array, size: int) -> Array:
        if not self.runs_in_python:
            shape = jax.ShapeDtypeStruct((size,), jnp.float32)
            return io_callback(partial(function, size=size), shape, packed, ordered=True)
        if isinstance(packed, jax.core.Tracer):
            raise RuntimeError(
                f'environment "{self.name}" runs in a Python loop here; call the functions of '
                "pgx_jax.rl outside jit"
            )
        return jnp.asarray(function(packed, size=size))

    def _reset(self, packed: Any, size: int) -> np.ndarray:
        tasks, seeds = np.asarray(packed).astype(np.int64).reshape(2, -1)
        if self._failure is not None:
            # Nobody asked: the program steps on without `check`.
            raise self._failure
        answer = np.zeros(size, np.float32)
        try:
            kept = self._kept(tasks)
            observation = self._call(kept, kept.batch.reset, seeds, limit=self._start_limit)
            self._check_shape(kept, observation, "observation", self._observation_shape)
            self._check_finite(kept, observation, "observation")
        except HostEnvironmentError as error:
            self._failure = error
            return answer
        # A float32 holds whole numbers up to 2**24.
        self._resets = self._resets % 2**24 + 1
        kept.reset, kept.steps = self._resets, 0
        answer[:-1] = np.asarray(observation).ravel()
        answer[-1] = self._resets
        return answer

    def _step(self, packed: Any, size: int) -> np.ndarray:
        packed = np.asarray(packed)
        answer = np.zeros(size, np.float32)
        if self._failure is None:
            try:
                self._advance(packed, answer)
            except HostEnvironmentError as error:
                self._failure = error
                answer[:] = 0.0
        return answer

    def _advance(self, packed: np.ndarray, answer: np.ndarray) -> None:
        kept = self._current(int(packed[0]))
        if isinstance(self._action_space, Box):
            action = packed[2:].view(np.float32).reshape(-1, self._action_space.size)
        else:
            action = packed[2:].astype(np.int64)
        kept.steps += 1
        step: HostStep = self._call(kept, kept.batch.step, action, limit=self._time_limit)
        num_envs = len(kept.tasks)
        answer = answer.reshape(num_envs, -1)
        size = math.prod(self._observation_shape)
        observations = [step.observation]
        if self._resets_in_step:
            final = step.final_observation
            observations.append(step.observation if final is None else final)
        for column, observation in enumerate(observations):
            self._check_shape(kept, observation, "observation", self._observation_shape)
            answer[:, column * size : (column + 1) * size] = observation.reshape(num_envs, size)
        column = len(observations) * size
        self._check_shape(kept, step.reward, "reward", ())
        answer[:, column] = step.reward
        terminated = np.asarray(step.terminated, bool)
        answer[:, column + 1] = terminated * _TERMINATED
        answer[:, column + 1] += (np.asarray(step.truncated, bool) & ~terminated) * _TRUNCATED
        answer[:, column + 1] += _VALID * (1 if step.valid is None else step.valid)
        for offset, name in enumerate(self._info_names, 2):
            value = (step.info or {}).get(name)
            if value is None:
                raise self._error(kept, None, f'info has no "{name}"')
            answer[:, column + offset] = value
        if not np.isfinite(answer).all():
            self._check_finite(kept, answer[:, :column], "observation")
            self._check_finite(kept, answer[:, column], "reward")
            self._check_finite(kept, answer[:, column + 2 :], "info value")

    def _kept(self, tasks: np.ndarray) -> "_Kept":
        name = tasks.tobytes()
        if name in self._batches:
            self._batches.move_to_end(name)
            return self._batches[name]
        while len(self._batches) >= self._max_batches:
            _, oldest = self._batches.popitem(last=False)
            oldest.batch.close()
        pending = _Kept(tasks, None)
        pending.batch = self._call(pending, self._make_batch, tasks, limit=self._start_limit)
        self._batches[name] = pending
        return pending

    def _current(self, reset: int) -> "_Kept":
        for kept in self._batches.values():
            if kept.reset == reset:
                return kept
        raise HostEnvironmentError(
            f'environment "{self.name}" ({self.backend}): a state was stepped after a later reset '
            "of the same tasks, or after too many other resets; finish one rollout before "
            "starting the next on the same tasks"
        )

    def _call(self, kept: "_Kept", function: Callable, argument: Any, limit: float) -> Any:
        if self._worker is None:
            self._worker = TimedWorker()
        try:
            return self._worker.call(function, argument, limit=limit)
        except TimedOutError:
            stuck, self._worker = self._worker, None
            where = kept.batch.where() if kept.batch is not None else None
            text = f"no answer within {limit:g} s"
            if kept.batch is not None:
                kept.batch.close()
                self._batches = OrderedDict(
                    (name, other) for name, other in self._batches.items() if other is not kept
                )
            if stuck.is_running():
                text += "; it hangs outside Python, where only a process of its own can be stopped"
            raise self._error(kept, where, text) from None
        except HostEnvironmentError:
            raise
        except Exception as error:
            where = kept.batch.where() if kept.batch is not None else None
            raise self._error(kept, where, f"{type(error).__name__}: {error}") from error

    def _error(self, kept: "_Kept", row: int | None, what: str) -> HostEnvironmentError:
        if row is None:
            tasks = sorted({self._task_names[task] for task in kept.tasks})
            shown = "task " + (tasks[0] if len(tasks) == 1 else f"one of {len(tasks)}")
        else:
            shown = f"task {self._task_names[kept.tasks[row]]}, environment {row}"
        moment = f"step {kept.steps}" if kept.steps else "reset"
        return HostEnvironmentError(
            f'environment "{self.name}" ({self.backend}), {shown}, {moment}: {what}'
        )

    def _check_shape(
        self, kept: "_Kept", values: np.ndarray, what: str, shape: tuple[int, ...]
    ) -> None:
        found, wanted = np.shape(values), (len(kept.tasks), *shape)
        if found != wanted:
            raise self._error(kept, None, f"{what} has shape {found}; {wanted} was declared")

    def _check_finite(self, kept: "_Kept", values: np.ndarray, what: str) -> None:
        bad = ~np.isfinite(np.asarray(values, float).reshape(len(kept.tasks), -1)).all(axis=1)
        if bad.any():
            raise self._error(kept, int(np.argmax(bad)), f"{what} is NaN or infinite")


class _Kept:
    """A batch with the reset that it is in and the steps since."""

    def __init__(self, tasks: np.ndarray, batch: Any) -> None:
        self.tasks, self.batch = tasks, batch
        self.reset, self.steps = 0, 0


@lru_cache(maxsize=1)
def supports_callbacks() -> bool:
    """Whether the default backend can call back to the host; found out once, by trying.

    Warns once where it cannot: the same rollouts then run as Python loops.
    """
    shape = jax.ShapeDtypeStruct((), jnp.float32)

    @jax.jit
    def attempt(value: Array) -> Array:
        return io_callback(lambda given: np.asarray(given) + 1, shape, value, ordered=True)

    try:
        works = float(attempt(jnp.float32(1.0))) == 2.0
    except Exception:
        works = False
    if not works:
        warnings.warn(
            f"this {jax.default_backend()} runtime has no host callbacks: environments on the "
            "host are stepped by a Python loop, one dispatch a step",
            stacklevel=2,
        )
    return works
