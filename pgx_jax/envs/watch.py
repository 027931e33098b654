"""Running host code under a time limit."""

import ctypes
import queue
import threading
from collections.abc import Callable
from typing import Any


class TimedOutError(RuntimeError):
    """The call did not return in time."""


class _StopWorkError(BaseException):
    """Raised inside a worker whose call took too long; not for environments to catch."""


class TimedWorker:
    """One daemon thread that runs calls in turn, each under a time limit.

    A call that takes too long is interrupted as soon as it runs Python again, and the worker ends
    with it; code that never returns to Python cannot be stopped inside its own process.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="pgx_jax-host", daemon=True)
        self._thread.start()

    def call(self, function: Callable, *arguments: Any, limit: float) -> Any:
        """``function(*arguments)``.

        Args:
            function: what to run.
            *arguments: its arguments.
            limit: seconds.

        Returns:
            Its result.

        Raises:
            TimedOutError: it took longer than ``limit``; the worker is of no more use.
            Exception: whatever the function raised.
        """
        self._requests.put((function, arguments))
        try:
            result, error = self._answers.get(timeout=limit)
        except queue.Empty:
            self._interrupt()
            raise TimedOutError(f"no answer within {limit:g} s") from None
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        """End the thread once it is idle."""
        self._requests.put(None)

    def is_running(self) -> bool:
        """Whether the thread is still there."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        try:
            while (request := self._requests.get()) is not None:
                function, arguments = request
                try:
                    answer = (function(*arguments), None)
                except Exception as error:
                    answer = (None, error)
                self._answers.put(answer)
        except _StopWorkError:
            return

    def _interrupt(self) -> None:
        self._requests.put(None)
        identity = self._thread.ident
        if identity is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(identity), ctypes.py_object(_StopWorkError)
            )
        self._thread.join(timeout=1.0)
