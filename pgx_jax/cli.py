"""The program ``pgx-jax``."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pgx_jax.experiments.settings import RunConfig

# The batched factorisations are small; a second pool of BLAS threads only gets in JAX's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Environments draw into memory; no window is opened.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


@dataclass(frozen=True)
class Run(RunConfig):
    """Find groups of tasks, train one policy per group, compare with the alternatives.

    Writes artifacts, metrics.jsonl, report.json and report.html into a folder. The same command
    on the same folder reuses finished stages; a changed option recomputes what depends on it.
    Options that are not given come from the preset.
    """

    out: Path | None = None
    """Output folder; runs/ENVIRONMENT-PRESET-seedSEED where not given."""
    render: bool = False
    """Put frames of the trained policies into the report, where the environment can draw."""
    grouping_only: bool = False
    """Stop at the groups; train and compare nothing."""


@dataclass(frozen=True)
class List:
    """Name the environments with the extra that each needs, or say more about one of them."""

    environment: str = field(default="", metadata={"positional": True})
    """Environment to say more about; gymnax or gymnasium for the names that these have."""


@dataclass(frozen=True)
class Reproduce:
    """Run a study, such as comparison, recovery or learning: its cases, over seeds.

    Writes one file of results with command, versions and hardware. The same command on the same
    folder reuses finished stages. `pgx-jax list` says what each study asks.
    """

    study: str
    """Study; `pgx-jax list` names them."""
    seeds: int | None = None
    """Seeds 0 to SEEDS-1; as many as the study takes where not given."""
    preset: str | None = None
    """Preset of every case; the study's own where not given."""
    cases: tuple[str, ...] = field(default=(), metadata={"option": "case"})
    """Case to run, once per case; all where not given."""
    out: Path | None = None
    """Folder for the artifacts; runs/reproduce-STUDY where not given."""
    json: Path | None = None
    """File of results; OUT/STUDY.json where not given."""


def main() -> None:
    """Entry point of the program."""
    try:
        from pgx_jax.command_line import CommandLineError, read_command
    except ImportError:
        sys.exit('pgx-jax: the program needs more packages: pip install "pgx_jax[run]"')
    # So that gymnasium:MODULE:ID finds a module in the folder that the program is run in.
    sys.path.append(os.getcwd())
    try:
        command = read_command(
            sys.argv[1:],
            {"run": Run, "list": List, "reproduce": Reproduce},
            program="pgx-jax",
            description="Which reinforcement-learning tasks should share a policy?",
            preset=_preset_values,
        )
    except CommandLineError as error:
        sys.exit(_fail(str(error)))
    if isinstance(command, List):
        sys.exit(_list(command))
    sys.exit(_reproduce(command) if isinstance(command, Reproduce) else _run(command))


def _preset_values(command: Any) -> Any:
    """What a run with these options would take, for its help; None where there is no such run."""
    try:
        return _make_config(command) if isinstance(command, Run) else None
    except (ValueError, ImportError):
        return None


def _make_config(command: Any) -> Any:
    from pgx_jax.command_line import given_options
    from pgx_jax.experiments.config import make_config

    options = given_options(command)
    for name in ("out", "render", "grouping_only"):
        options.pop(name, None)
    return make_config(**options)


def _run(command: Run) -> int:
    """Run an experiment."""
    from pgx_jax.envs.families import find_family

    try:
        entry, _ = find_family(command.tasks.environment)
    except ValueError as error:
        return _fail(str(error))
    try:
        for package in ("flax", "gymnax", "jinja2", "matplotlib", "optax", "rich"):
            import_module(package)
    except ImportError as error:
        return _fail(f'{error.name} is missing: pip install "pgx_jax[{entry.extra}]"')
    from pgx_jax.experiments.progress import Progress
    from pgx_jax.experiments.run import run_experiment

    def run() -> None:
        config = _make_config(command)
        name = config.tasks.environment.replace(":", "-").replace("/", "-")
        out = command.out or Path("runs") / f"{name}-{config.preset}-seed{config.seed}"
        run_experiment(
            config,
            out,
            progress=Progress(),
            grouping_only=command.grouping_only,
            render=command.render,
        )

    return _guarded(run)


def _reproduce(command: Reproduce) -> int:
    """Run a study, write its file of results, and print what it comes to."""
    try:
        from pgx_jax.experiments.progress import Progress
        from pgx_jax.experiments.provenance import write_results
        from pgx_jax.experiments.store import check_writable
        from pgx_jax.experiments.studies import STUDIES, run_study, summary_lines
    except ImportError as error:
        return _fail(f'{error.name} is missing: pip install "pgx_jax[run]"')

    def run() -> None:
        study = STUDIES.find(command.study)
        out = command.out or Path("runs") / f"reproduce-{study.name}"
        study = study.part(command.cases, command.seeds)
        path = command.json or out / f"{study.name}.json"
        for folder in (out, path.parent):
            check_writable(folder)
        result = run_study(study, out, overrides={"preset": command.preset}, progress=Progress())
        write_results(path, result)
        print("\n".join([*summary_lines(result["summary"]), f"results: {path}"]))

    return _guarded(run)


def _guarded(run: Callable[[], None]) -> int:
    """Exit status of some work; what a user can mend is one line on standard error."""
    from pgx_jax.envs.host.environment import HostEnvironmentError
    from pgx_jax.experiments.store import ArtifactError

    try:
        run()
    except (ValueError, ImportError, ArtifactError, HostEnvironmentError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; finished stages are kept, run the same command to go on")
    return 0


def _list(command: List) -> int:
    """Print what there is to run, in plain text where no terminal shows it."""
    try:
        from rich.console import Console

        from pgx_jax.experiments.listing import details, overview

        listing = details(command.environment) if command.environment else overview()
    except (ValueError, ImportError) as error:
        return _fail(str(error))
    # Wide where the text goes into a file, as names are not to be cut.
    Console(width=min(shutil.get_terminal_size((108, 24)).columns, 108)).print(listing)
    return 0


def _fail(message: str) -> int:
    print(f"pgx-jax: {message}", file=sys.stderr)
    return 2
