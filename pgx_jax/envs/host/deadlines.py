"""Running host code under a time limit."""

import ctypes
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_LONGEST_WAIT = 1.0


class TimedOutError(RuntimeError):
    """The call did not return in time."""


class CancelledError(RuntimeError):
    """Another thread gave up waiting for the call."""


class _StopWorkError(SystemExit):
    """Raised inside a worker to stop its call; a thread that ends by it says nothing."""


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

    def call(
        self, function: Callable, *arguments: Any, limit: float
    ) -> tuple[Any, BaseException | None]:
        """``function(*arguments)``.

        Args:
            function: what to run.
            *arguments: its arguments.
            limit: seconds, in which this process was not paused.

        Returns:
            Its result, and what it raised or None. Whatever is *raised* here, such as
            KeyboardInterrupt, is not the function's; the call then still runs, so that the worker
            is to be interrupted and replaced.

        Raises:
            TimedOutError: it took longer than ``limit``.
            CancelledError: ``cancel`` was called meanwhile.
        """
        self._requests.put((function, arguments))
        remaining = limit
        while True:
            # Short waits, each counted as its own length: a process that was paused, or a machine
            # that slept, does not look like a call that hangs.
            wait = min(remaining, _LONGEST_WAIT)
            try:
                answer = self._answers.get(timeout=wait)
                break
            except queue.Empty:
                remaining -= wait
            if remaining <= 0:
                raise TimedOutError(f"no answer within {limit:g} s")
        if answer is None:
            raise CancelledError("interrupted")
        return answer

    def cancel(self) -> None:
        """From another thread: whoever waits in ``call`` waits no longer; the last request."""
        self._requests.put(None)
        self._answers.put(None)

    def interrupt(self, patience: float = 2.0) -> bool:
        """Stop the call that runs and the thread with it.

        Args:
            patience: seconds to wait for the thread's end.

        Returns:
            Whether the thread has ended.
        """
        self._requests.put(None)
        identity = self._thread.ident
        if identity is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(identity), ctypes.py_object(_StopWorkError)
            )
        self._thread.join(patience)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the idle thread."""
        self._requests.put(None)
        self._thread.join()

    def _serve(self) -> None:
        # An interrupt may come just after the call that it was for.
        with suppress(_StopWorkError):
            while (request := self._requests.get()) is not None:
                function, arguments = request
                # Names would keep what the call was about alive until the next one.
                del request
                try:
                    answer = (function(*arguments), None)
                except _StopWorkError:
                    return
                except BaseException as error:
                    answer = (None, error)
                del function, arguments
                self._answers.put(answer)
                del answer
