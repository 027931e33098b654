"""How a stage of the estimation is run, and what it is given."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array


class Outcome(NamedTuple):
    """What the function of a stage returns.

    Attributes:
        value: a pytree of arrays.
        env_steps: environment steps that it took.
        facts: plain values to keep beside the arrays, such as a solver's status.
    """

    value: Any
    env_steps: int = 0
    facts: Mapping[str, Any] | None = None


class RunStage(Protocol):
    """How a stage is run."""

    def __call__(
        self,
        name: str,
        settings: Any,
        parents: Mapping[str, Any],
        function: Callable[..., Outcome],
        like: Any = None,
    ) -> Any:
        """The value of ``function(settings, **parents)``.

        Args:
            name: of the stage.
            settings: all the settings that the stage may read.
            parents: what it is made from, by the names of the stages that made it.
            function: makes it.
            like: a pytree of the value's structure, or ``like(arrays, facts)`` that makes the
                value from what was stored.
        """
        ...


def run_now(
    name: str,
    settings: Any,
    parents: Mapping[str, Any],
    function: Callable[..., Outcome],
    like: Any = None,
) -> Any:
    """A stage as a plain call; see ``RunStage``."""
    del name, like
    return function(settings, **parents).value


def stage_key(key: Array, name: str) -> Array:
    """The PRNG key of a stage: a function of the run's key and the stage's name alone."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
