"""Running stages: each leaves an artifact, and a finished one is not run again."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax

import pgx_jax
from pgx_jax.experiments.progress import Advance, Progress
from pgx_jax.experiments.store import (
    Artifact,
    Tree,
    load_artifact,
    save_artifact,
    stage_hash,
)
from pgx_jax.experiments.timing import CompileClock


class Outcome(NamedTuple):
    """What a stage's function returns.

    Attributes:
        tree: nested dict of arrays to keep.
        env_steps: environment steps that it took.
        facts: plain values to keep beside the arrays, such as a solver's status.
    """

    tree: Tree
    env_steps: int = 0
    facts: dict[str, Any] | None = None


class Stage(NamedTuple):
    """A finished stage.

    Attributes:
        tree: its arrays.
        about: hash, settings, seconds, environment steps, facts.
        reused: True where it was found on disk.
    """

    tree: Tree
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


@dataclass
class StageRunner:
    """Runs stages in an output folder.

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

    def run(
        self,
        name: str,
        settings: dict[str, Any],
        parents: list[str],
        compute: Callable[[Advance], Outcome],
    ) -> Stage:
        """The stage from disk where its hash is there, else from ``compute``.

        Args:
            name: of the stage and its files.
            settings: the part of the configuration that it depends on itself.
            parents: finished stages that it is made from.
            compute: makes it.

        Returns:
            The finished stage.

        Raises:
            ArtifactError: an artifact is cut short, or cannot be written.
        """
        settings = {**settings, "version": pgx_jax.__version__}
        hashed = stage_hash(name, settings, {p: self.finished[p].hash for p in parents})
        found = load_artifact(self.folder, name, hashed)
        if found is not None:
            self.progress.line(f"{name}: reused, {self.folder}/artifacts ({hashed})")
            stage = Stage(found.tree, found.about, True)
        else:
            with self.clock.measure() as seconds, self.progress.stage(name) as advance:
                outcome = compute(advance)
                jax.block_until_ready(outcome.tree)
            about = {
                "stage": name,
                "hash": hashed,
                "settings": settings,
                "parents": parents,
                "wall_seconds": round(seconds.total, 3),
                "compile_seconds": round(seconds.compile, 3),
                "env_steps": int(outcome.env_steps),
                "facts": outcome.facts or {},
            }
            # As it will come back from disk: tuples as lists, keys as strings.
            about = json.loads(json.dumps(about))
            save_artifact(self.folder, name, Artifact(outcome.tree, about))
            self.progress.line(
                f"{name}: {seconds.total:.1f} s, {seconds.compile:.1f} s of it compiling"
                + (f", {outcome.env_steps:,} environment steps" if outcome.env_steps else "")
            )
            stage = Stage(outcome.tree, about, False)
        self.finished[name] = stage
        return stage
