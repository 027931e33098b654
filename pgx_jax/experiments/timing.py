"""Wall time of a stage, with the time that JAX spent compiling told apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

_COMPILE_EVENTS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


@dataclass
class Seconds:
    """Wall seconds of a stage.

    Attributes:
        total: all of it.
        compile: tracing, lowering and compiling, within the total.
    """

    total: float = 0.0
    compile: float = 0.0


class CompileClock:
    """Listens to JAX's own reports of compile time; one per run."""

    def __init__(self) -> None:
        """Start listening."""
        self._intervals: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event not in _COMPILE_EVENTS:
            return
        end = time.monotonic()
        start = end - duration_secs
        # A trace reports the traces within it too; these ended earlier and count once.
        while self._intervals and self._intervals[-1][0] >= start:
            self._intervals.pop()
        self._intervals.append((start, end))

    @contextmanager
    def measure(self) -> Iterator[Seconds]:
        """Yields ``Seconds``, filled when the block ends."""
        result = Seconds()
        self._intervals.clear()
        started = time.monotonic()
        yield result
        result.total = time.monotonic() - started
        compiling = sum(end - max(start, started) for start, end in self._intervals)
        result.compile = min(compiling, result.total)
