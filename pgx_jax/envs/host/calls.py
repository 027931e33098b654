"""What happens on the host in a callback: NumPy in, NumPy out, and no fault ever raised.

A fault that left a callback would be wrapped beyond recognition by the runtime, or stop it. It is
kept instead, what follows is masked, and :meth:`HostCalls.check` raises it.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from pgx_jax.envs.host.deadlines import TimedOutError, TimedWorker

TERMINATED, TRUNCATED, VALID = 1, 2, 4


class HostEnvironmentError(RuntimeError):
    """An environment on the host raised, returned nonsense, or did not return."""


class EnvironmentFault(RuntimeError):  # noqa: N818 - not an end in itself: becomes the error above
    """What one environment of a batch did wrong.

    Attributes:
        row: its index in the batch.
        what: what went wrong.
    """

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"environment {row}: {what}")
        self.row, self.what = row, what


class HostStep(NamedTuple):
    """What a batch on the host returns from a step, in NumPy.

    Attributes:
        observation: float[B, ...], to act on next.
        reward: float[B].
        terminated: bool[B].
        truncated: bool[B].
        final_observation: float[B, ...], what this step led to; None where ``observation`` is
            it (no episode ended, or environments reset on the step after the last).
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


class HostSettings(NamedTuple):
    """What a host environment was described by; see ``HostEnvironment``."""

    name: str
    backend: str
    make_batch: Callable[[np.ndarray], HostBatch]
    observation_shape: tuple[int, ...]
    action_size: int | None  # None: whole numbers
    task_names: tuple[str, ...]
    info_names: tuple[str, ...]
    resets_in_step: bool
    time_limit: float
    start_limit: float
    max_batches: int

    @property
    def size(self) -> int:
        """Numbers in one observation."""
        return math.prod(self.observation_shape)

    @property
    def width(self) -> int:
        """Numbers in one environment's answer to a step."""
        return (2 if self.resets_in_step else 1) * self.size + 2 + len(self.info_names)


class HostCalls:
    """Answers to packed requests, environments kept between resets by the tasks that they hold.

    A reset is int32[2 B], tasks and seeds, answered by float32[B * size + 1], observations and the
    number of the reset. A step is int32[2 + ...], number of the reset, steps since and actions
    (floats bit by bit), answered by float32[B, width]: observation, the final one where
    environments reset in a step, reward, flags, info values.
    """

    def __init__(self, settings: HostSettings) -> None:
        """Nothing is made before the first reset."""
        self._settings = settings
        self._batches: OrderedDict[bytes, _LiveBatch] = OrderedDict()
        self._resets = 0
        self._failure: BaseException | None = None
        self._worker: TimedWorker | None = None
        # Programs run on while Python goes on: `close` may come between two steps.
        self._lock = threading.RLock()

    def reset(self, packed: Any, size: int) -> np.ndarray:
        """Answer a reset; ``size`` numbers."""
        tasks, seeds = np.asarray(packed).astype(np.int64).reshape(2, -1)
        answer = np.zeros(size, np.float32)
        with self._lock:
            if self._failure is not None:
                # A loop of the user's own that never called `check`: better here than not at all.
                raise self._failure
            try:
                self._start_episodes(tasks, seeds, answer)
            except BaseException as error:
                self._failure = error
                answer[:] = 0.0
        return answer

    def step(self, packed: Any, size: int) -> np.ndarray:
        """Answer a step; ``size`` numbers."""
        packed = np.asarray(packed)
        answer = np.zeros((size // self._settings.width, self._settings.width), np.float32)
        with self._lock:
            if self._failure is None:
                try:
                    # A value too large for a float32 becomes infinite, which is found below.
                    with np.errstate(over="ignore"):
                        self._advance(packed, answer)
                    return answer.reshape(-1)
                # An interrupt too: it is the user's program that has to end by it.
                except BaseException as error:
                    self._failure = error
        answer[:] = 0.0
        # Not valid, but at an end: nothing waits for the end of an episode.
        answer[:, -1 - len(self._settings.info_names)] = TERMINATED
        return answer.reshape(-1)

    def check(self) -> None:
        """Raise what went wrong since the last check, and free everything."""
        failure, self._failure = self._failure, None
        if failure is None:
            return
        try:
            self.close()
        except HostEnvironmentError as error:
            failure.add_note(f"then: {error}")
        raise failure

    def cancel(self) -> None:
        """Have a program that is running step on without its environments, to its end."""
        self._failure = HostEnvironmentError(f'environment "{self._settings.name}": interrupted')
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()

    def close(self) -> None:
        """Free all environments, forget what went wrong; the next reset makes new ones."""
        with self._lock:
            self._failure = None
            problem: HostEnvironmentError | None = None
            while self._batches:
                _, live = self._batches.popitem()
                try:
                    self._shut(live)
                except HostEnvironmentError as error:
                    problem = problem or error
            if self._worker is not None:
                self._worker.stop()
                self._worker = None
            if problem is not None:
                raise problem

    def _start_episodes(self, tasks: np.ndarray, seeds: np.ndarray, answer: np.ndarray) -> None:
        live = self._batch_of(tasks)
        live.steps, live.moment = 0, "reset"
        limit = self._settings.start_limit
        observation = self._call(live, live.batch.reset, seeds, limit=limit)
        self._check_shape(live, observation, "observation", self._settings.observation_shape)
        self._check_finite(live, observation, "observation")
        # A float32 holds whole numbers up to 2**24.
        self._resets = self._resets % 2**24 + 1
        live.reset = self._resets
        answer[:-1] = np.asarray(observation).reshape(-1)
        answer[-1] = self._resets

    def _advance(self, packed: np.ndarray, answer: np.ndarray) -> None:
        settings = self._settings
        live = self._current(int(packed[0]), int(packed[1]))
        if settings.action_size is None:
            action = packed[2:].astype(np.int64)
        else:
            # The runtime's own memory is not for environments to write to.
            action = packed[2:].view(np.float32).reshape(-1, settings.action_size).copy()
        live.steps += 1
        live.moment = f"step {live.steps}"
        step: HostStep = self._call(live, live.batch.step, action, limit=settings.time_limit)
        observations, final = [step.observation], step.final_observation
        if settings.resets_in_step:
            observations.append(step.observation if final is None else final)
        elif final is not None:
            raise self._error(
                live, None, "it reset an environment within a step, which was declared not to be"
            )
        size = settings.size
        for column, observation in enumerate(observations):
            self._check_shape(live, observation, "observation", settings.observation_shape)
            answer[:, column * size : (column + 1) * size] = np.reshape(observation, (-1, size))
        column = len(observations) * size
        ends = (("reward", step.reward), ("end", step.terminated), ("end", step.truncated))
        for what, values in ends:
            self._check_shape(live, values, what, ())
        answer[:, column] = step.reward
        terminated = np.asarray(step.terminated, bool)
        truncated = np.asarray(step.truncated, bool) & ~terminated
        valid = True if step.valid is None else np.asarray(step.valid, bool)
        answer[:, column + 1] = terminated * TERMINATED + truncated * TRUNCATED + valid * VALID
        for offset, name in enumerate(settings.info_names, 2):
            value = (step.info or {}).get(name)
            if value is None:
                raise self._error(live, None, f'info has no "{name}"')
            self._check_shape(live, value, f'info value "{name}"', ())
            answer[:, column + offset] = value
        if not np.isfinite(answer).all():
            self._check_finite(live, answer[:, :column], "observation")
            self._check_finite(live, answer[:, column], "reward")
            self._check_finite(live, answer[:, column + 2 :], "info value")

    def _batch_of(self, tasks: np.ndarray) -> "_LiveBatch":
        name = tasks.tobytes()
        if name in self._batches:
            self._batches.move_to_end(name)
            return self._batches[name]
        while len(self._batches) >= self._settings.max_batches:
            self._shut(self._batches.popitem(last=False)[1])
        new = _LiveBatch(tasks, None)
        limit = self._settings.start_limit
        new.batch = self._call(new, self._settings.make_batch, tasks, limit=limit)
        self._batches[name] = new
        return new

    def _shut(self, live: "_LiveBatch") -> None:
        live.moment = "close"
        self._call(live, live.batch.close, limit=self._settings.time_limit)

    def _current(self, reset: int, steps: int) -> "_LiveBatch":
        for live in self._batches.values():
            if live.reset == reset and live.steps == steps:
                return live
        raise HostEnvironmentError(
            f'environment "{self._settings.name}" ({self._settings.backend}): a state was stepped '
            "twice, or after a later reset of the same tasks, or after too many other resets; "
            "environments on the host only go on: finish one rollout before starting the next on "
            "the same tasks"
        )

    def _call(self, live: "_LiveBatch", function: Callable, *arguments: Any, limit: float) -> Any:
        if limit == math.inf:
            # No deadline: two changes of thread less.
            try:
                return function(*arguments)
            except Exception as error:
                raise self._named(live, error) from _cause(error)
        if self._worker is None:
            self._worker = TimedWorker()
        worker = self._worker
        try:
            result, error = worker.call(function, *arguments, limit=limit)
        except TimedOutError as late:
            raise self._give_up(live, worker, str(late)) from None
        except BaseException:
            self._give_up(live, worker, "interrupted")
            raise
        if error is not None:
            raise self._named(live, error) from _cause(error)
        return result

    def _give_up(self, live: "_LiveBatch", worker: TimedWorker, text: str) -> HostEnvironmentError:
        """Stop a call, and the environments that it was for."""
        self._worker = None
        batch, where = live.batch, None
        if batch is not None:
            where = batch.where()
            live.batch = _Closed()
        if not worker.interrupt():
            # Another thread is inside these environments: to close them here could crash both.
            text += "; it could not be stopped within this process and may still run"
        elif batch is not None:
            last = TimedWorker()
            try:
                last.call(batch.close, limit=self._settings.time_limit)
                last.stop()
            except TimedOutError:
                last.interrupt()
        return self._error(live, where, text)

    def _named(self, live: "_LiveBatch", error: BaseException) -> HostEnvironmentError:
        """What a batch raised, with a name."""
        if isinstance(error, EnvironmentFault):
            return self._error(live, error.row, error.what)
        where = live.batch.where() if live.batch is not None else None
        return self._error(live, where, f"{type(error).__name__}: {error}")

    def _error(self, live: "_LiveBatch", row: int | None, what: str) -> HostEnvironmentError:
        if row is None:
            tasks = sorted({self._settings.task_names[task] for task in live.tasks})
            shown = f"task {tasks[0]}" if len(tasks) == 1 else f"one of {len(tasks)} tasks"
        else:
            shown = f"task {self._settings.task_names[live.tasks[row]]}, environment {row}"
        return HostEnvironmentError(
            f'environment "{self._settings.name}" ({self._settings.backend}), {shown}, '
            f"{live.moment}: {what}"
        )

    def _check_shape(
        self, live: "_LiveBatch", values: np.ndarray, what: str, shape: tuple[int, ...]
    ) -> None:
        returned, declared = np.shape(values), (len(live.tasks), *shape)
        if returned != declared:
            raise self._error(live, None, f"{what} has shape {returned}; {declared} was declared")

    def _check_finite(self, live: "_LiveBatch", values: np.ndarray, what: str) -> None:
        rows = np.asarray(values, np.float32).reshape(len(live.tasks), -1)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise self._error(live, int(np.argmax(bad)), f"{what} is NaN or infinite")


def _cause(error: BaseException) -> BaseException | None:
    # One that is made only to say whose fault it is has no more to show than its own cause.
    return error.__cause__ if isinstance(error, EnvironmentFault) else error


class _LiveBatch:
    """A batch with the reset that it is in and the steps since."""

    def __init__(self, tasks: np.ndarray, batch: Any) -> None:
        self.tasks, self.batch = tasks, batch
        self.reset, self.steps = -1, 0
        self.moment = "reset"


class _Closed:
    """Stands for environments that are gone."""

    def close(self) -> None:
        """There is nothing to free."""

    def where(self) -> None:
        """Nowhere."""
