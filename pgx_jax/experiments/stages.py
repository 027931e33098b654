"""Running stages: each leaves an artifact, and a finished one is not run again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import pgx_jax
from pgx_jax.experiments.fingerprint import digest, fingerprint
from pgx_jax.experiments.progress import Advance, Progress
from pgx_jax.experiments.store import (
    Artifact,
    arrays_of,
    load_artifact,
    restored,
    save_artifact,
)
from pgx_jax.experiments.timing import CompileClock
from pgx_jax.pipeline import Outcome


class Stage(NamedTuple):
    """A finished stage.

    Attributes:
        value: what it made.
        about: hash, settings, seconds, environment steps, facts.
        reused: True where it was found on disk.
    """

    value: Any
    about: dict[str, Any]
    reused: bool

    @property
    def hash(self) -> str:
        """Hash of everything that the stage depends on."""
        return self.about["hash"]

    @property
    def env_steps(self) -> int:
        """Environment steps that the stage took when it ran."""
        return self.about["env_steps"]

    @property
    def facts(self) -> dict[str, Any]:
        """Plain values that the stage kept."""
        return self.about["facts"]


def surroundings() -> dict[str, Any]:
    """What decides the result of every stage beside its settings."""
    return {
        "version": pgx_jax.__version__,
        "x64": jnp.zeros(()).dtype == jnp.float64,
        "backend": jax.default_backend(),
    }


@dataclass
class StageRunner:
    """Runs stages in an output folder; ``pipeline.estimate`` takes it for its ``stage``.

    Attributes:
        folder: where the artifacts are.
        progress: tells a person.
        clock: tells compile time apart.
        finished: the stages so far, by name, in order.
    """

    folder: Path
    progress: Progress
    clock: CompileClock = field(default_factory=CompileClock)
    finished: dict[str, Stage] = field(default_factory=dict)
    _advance: Advance | None = None

    def advance(self, share: float, note: str) -> None:
        """Tell the share done of the stage at hand, 0..1."""
        if self._advance is not None:
            self._advance(share, note)

    def __call__(
        self,
        name: str,
        settings: Any,
        parents: Mapping[str, Any],
        function: Callable[..., Outcome],
        like: Any = None,
    ) -> Any:
        """What a stage makes: from disk where its hash is there, else from ``function``.

        Args:
            name: of the stage and its files.
            settings: all the settings that it may read; the hash is made of them.
            parents: finished stages that it is made from, by name, with what they made.
            function: ``function(settings, **parents)`` -> ``Outcome``.
            like: a pytree of the value's structure, or ``like(arrays, facts)`` that makes the
                value from what is stored; None for a value that is one array.

        Returns:
            The value.

        Raises:
            ArtifactError: an artifact is cut short, or cannot be written.
        """
        given = {parent: self.finished[parent].hash for parent in parents}
        hashed = digest([name, settings, given, surroundings()])
        finished = self.finished.get(name)
        if finished is not None and finished.hash == hashed:
            return finished.value
        loaded = load_artifact(self.folder, name, hashed)
        if loaded is not None:
            self.progress.line(f"{name}: reused, {self.folder}/artifacts ({hashed})")
            facts = loaded.about["facts"]
            arrays = loaded.arrays
            makes = callable(like) and not isinstance(like, type)
            made = like(arrays, facts) if makes else restored(arrays, like, name)
            self.finished[name] = Stage(made, loaded.about, True)
        else:
            self.finished[name] = self._run(name, settings, parents, function, hashed)
        return self.finished[name].value

    def _run(
        self,
        name: str,
        settings: Any,
        parents: Mapping[str, Any],
        function: Callable[..., Outcome],
        hashed: str,
    ) -> Stage:
        with self.clock.measure() as seconds, self.progress.stage(name) as self._advance:
            outcome = function(settings, **{_argument(key): parents[key] for key in parents})
            jax.block_until_ready(outcome.value)
        self._advance = None
        about = {
            "stage": name,
            "hash": hashed,
            "settings": {"given": fingerprint(settings), **surroundings()},
            "parents": list(parents),
            "wall_seconds": round(seconds.total, 3),
            "compile_seconds": round(seconds.compile, 3),
            "env_steps": int(outcome.env_steps),
            "facts": outcome.facts or {},
        }
        # As it will come back from disk: tuples as lists, keys as strings.
        about = json.loads(json.dumps(about))
        save_artifact(self.folder, name, Artifact(arrays_of(outcome.value, name), about))
        self.progress.line(
            f"{name}: {seconds.total:.1f} s, {seconds.compile:.1f} s of it compiling"
            + (f", {outcome.env_steps:,} environment steps" if outcome.env_steps else "")
        )
        return Stage(outcome.value, about, False)


def _argument(stage: str) -> str:
    """The name of a function's argument for a stage: "train/single_policy" is "train"."""
    return stage.partition("/")[0]
