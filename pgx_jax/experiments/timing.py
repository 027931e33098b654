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
    """Adds up JAX's own reports of compile time; one per run."""

    def __init__(self) -> None:
        """Start listening."""
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event in _COMPILE_EVENTS:
            self.seconds += duration_secs

    @contextmanager
    def measure(self) -> Iterator[Seconds]:
        """Yields ``Seconds``, filled when the block ends."""
        result = Seconds()
        started, compiled = time.monotonic(), self.seconds
        yield result
        result.total = time.monotonic() - started
        # Nested traces report their time twice; compiling cannot outlast the stage.
        result.compile = min(self.seconds - compiled, result.total)
