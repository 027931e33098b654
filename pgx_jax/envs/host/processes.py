"""A batch on the host spread over processes, which can be stopped whatever they do.

Processes start afresh (forkserver or spawn; a fork under JAX can deadlock) and import neither JAX
nor the main module: what they have to make travels by value where it was defined there, so that a
script needs no ``if __name__ == "__main__"``. A forkserver, once started, stays until Python ends.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import numpy as np

from pgx_jax.envs.host.calls import EnvironmentFault, HostBatch, HostStep

Context = Literal["forkserver", "spawn"]

_STARTING = threading.Lock()
# An interrupt reaches a thread that waits no sooner than this.
_PATIENCE = 0.1


class ProcessBatch:
    """B environments in shares, each share a batch of its own in a process of its own."""

    def __init__(
        self,
        makers: Sequence[Callable[[Any], HostBatch]],
        sizes: Sequence[int],
        *,
        context: Context = "forkserver",
    ) -> None:
        """Start the processes and make the environments.

        Args:
            makers: one a share: takes an object to whose ``value`` it writes the index of the
                environment at work, -1 for none, and returns the batch. Sent by cloudpickle.
            sizes: environments of each share.
            context: how processes start.

        Raises:
            EnvironmentFault: an environment could not be made.
            RuntimeError: the shares' ``signature``s, such as their spaces, differ.
        """
        import cloudpickle

        if context not in multiprocessing.get_all_start_methods():
            context = "spawn"  # Windows has no forkserver
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        payloads = [cloudpickle.dumps(maker) for maker in makers]
        launcher: Any = multiprocessing.get_context(context)
        self._cells = [launcher.RawValue("i", -1) for _ in makers]
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._asked: set[int] = set()
        try:
            with _without_main_module():
                for share, payload in enumerate(payloads):
                    near, far = launcher.Pipe()
                    self._pipes.append(near)
                    self._processes.append(
                        launcher.Process(
                            target=_serve,
                            args=(far, payload, self._cells[share]),
                            name=f"pgx_jax-host-{share}",
                            daemon=True,
                        )
                    )
                    self._asked.add(share)
                    self._processes[-1].start()
                    far.close()
            signatures = self._gather()
            if len(set(signatures)) > 1:
                raise RuntimeError(f"environments of one batch differ: {sorted(set(signatures))}")
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes."""
        self._ask("reset", np.asarray(seeds))
        return np.concatenate(self._gather())

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments."""
        self._ask("step", np.asarray(action))
        steps: list[HostStep] = self._gather()
        final = None
        if any(step.final_observation is not None for step in steps):
            final = _joined(
                step.observation if step.final_observation is None else step.final_observation
                for step in steps
            )
        names = steps[0].info or {}
        return HostStep(
            _joined(step.observation for step in steps),
            _joined(step.reward for step in steps),
            _joined(step.terminated for step in steps),
            _joined(step.truncated for step in steps),
            final,
            None if steps[0].valid is None else _joined(step.valid for step in steps),
            {name: _joined((step.info or {})[name] for step in steps) for name in names},
        )

    def close(self) -> None:
        """End the processes: the idle ones close their environments, the others are stopped."""
        for share, (pipe, process) in enumerate(zip(self._pipes, self._processes, strict=False)):
            if share in self._asked:
                process.terminate() if process.pid is not None else None
            else:
                with suppress(OSError):
                    pipe.send(None)
        deadline = time.monotonic() + 5.0
        for process in self._processes:
            if process.pid is None:
                continue
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()
        self._processes.clear()
        self._pipes.clear()
        self._asked.clear()

    def where(self) -> int | None:
        """Index of the first environment that is at work."""
        for start, cell in zip(self._starts, self._cells, strict=True):
            if cell.value >= 0:
                return int(start) + cell.value
        return None

    def _ask(self, name: str, argument: np.ndarray) -> None:
        if not self._pipes:
            raise RuntimeError("the environments are closed")
        if self._asked:
            raise RuntimeError("an earlier step was interrupted")
        for share, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            self._asked.add(share)
            with suppress(OSError):  # it has ended, which is found out when it is to answer
                self._pipes[share].send((name, argument[start:end]))

    def _gather(self) -> list[Any]:
        answers: list[Any] = [None] * len(self._pipes)
        waiting = {pipe: share for share, pipe in enumerate(self._pipes)}
        while waiting:
            ready: list[Any] = wait(list(waiting), _PATIENCE)
            for pipe in ready:
                share = waiting.pop(pipe)
                answers[share] = self._receive(share)
        return answers

    def _receive(self, share: int) -> Any:
        try:
            good, answer = self._pipes[share].recv()
        except (EOFError, OSError):
            process = self._processes[share]
            process.join(5.0)
            local = max(0, self._cells[share].value)
            code = process.exitcode
            raise EnvironmentFault(
                int(self._starts[share]) + local, f"its process ended (exit code {code})"
            ) from None
        self._asked.discard(share)
        if good:
            return answer
        local, what, trace = answer
        raise EnvironmentFault(int(self._starts[share]) + max(0, local), what) from _Remote(trace)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Remote(Exception):  # noqa: N818 - only shown as a cause
    """The traceback of another process."""

    def __str__(self) -> str:
        return f'in a process of its own:\n"""\n{self.args[0]}"""'


def _joined(parts: Iterator[Any]) -> np.ndarray:
    return np.concatenate(list(parts))


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Processes that start meanwhile do not import the main module again."""
    with _STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _serve(pipe: Connection, payload: bytes, cell: Any) -> None:
    """Answer requests until told to end or until the other side is gone."""
    # Ctrl-C goes to every process; the other side says what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    batch: Any = None
    try:
        batch = pickle.loads(payload)(cell)
        pipe.send((True, getattr(batch, "signature", "")))
        while (request := pipe.recv()) is not None:
            name, argument = request
            pipe.send((True, getattr(batch, name)(argument)))
    except (EOFError, BrokenPipeError):
        pass
    except BaseException as error:
        row, what = cell.value, f"{type(error).__name__}: {error}"
        if isinstance(error, EnvironmentFault):
            row, what = error.row, error.what
        with suppress(OSError):
            pipe.send((False, (row, what, traceback.format_exc())))
    finally:
        if batch is not None:
            batch.close()
