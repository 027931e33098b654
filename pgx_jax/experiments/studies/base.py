"""What a study is, and how one is run: cases by seeds, one file of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pgx_jax.experiments.config import config_values, make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import run_experiment
from pgx_jax.registry import Registry

Row = dict[str, Any]
"""What one case gave for one seed."""


class Trial(NamedTuple):
    """One case for one seed.

    Attributes:
        case: its name.
        settings: its settings.
        seed: of the run.
        folder: for artifacts; the trials of a seed in one environment share it, and with it the
            stages that they have in common.
    """

    case: str
    settings: Mapping[str, Any]
    seed: int
    folder: Path


@dataclass(frozen=True)
class Study:
    """Runs that answer one question.

    Attributes:
        name: on the command line and of the file of results.
        what: the question, one line.
        cases: settings of ``make_config`` by case, "environment" among them.
        keep: keys of a report that a row keeps.
        summarise: ``summarise(rows by case)`` -> what the rows come to, plain JSON values.
        num_seeds: seeds 0 to num_seeds - 1, unless others are asked for.
        grouping_only: the runs stop at the groups.
        try_one: ``try_one(study, trial, progress)`` -> row; None runs an experiment.
    """

    name: str
    what: str
    cases: Mapping[str, Mapping[str, Any]] = field(hash=False)
    keep: tuple[str, ...]
    summarise: Callable[[Mapping[str, list[Row]]], Row]
    num_seeds: int = 5
    grouping_only: bool = False
    try_one: "Callable[[Study, Trial, Progress], Row] | None" = None


STUDIES: Registry[Study] = Registry("study")


def run_study(
    study: Study,
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run or resume a study.

    Args:
        study: what to run.
        out: folder for the artifacts of its runs.
        seeds: seeds; None takes the study's own.
        overrides: settings that replace those of every case.
        progress: tells a person.

    Returns:
        Plain JSON values: ``what``, ``config`` by case, ``seeds``, ``summary``, and ``runs``, all
        rows by case.

    Raises:
        ValueError: a setting is outside its range; before anything runs.
    """
    progress = progress or Progress(quiet=True)
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    cases = {name: {**settings, **overrides} for name, settings in study.cases.items()}
    configs = {name: make_config(**settings) for name, settings in cases.items()}
    chosen = range(study.num_seeds) if seeds is None else seeds
    rows: dict[str, list[Row]] = {name: [] for name in cases}
    for seed in chosen:
        for name, settings in cases.items():
            folder = out / settings["environment"].replace(":", "-") / f"seed{seed}"
            trial = Trial(name, settings, seed, folder)
            progress.line(f"{study.name}: {name}, seed {seed}")
            rows[name].append(
                {"seed": seed, **(study.try_one or _experiment)(study, trial, progress)}
            )
    return {
        "what": study.what,
        "config": {name: config_values(config) for name, config in configs.items()},
        "seeds": list(chosen),
        "summary": study.summarise(rows),
        "runs": rows,
    }


def _experiment(study: Study, trial: Trial, progress: Progress) -> Row:
    """A whole run; the row is what its report holds under ``study.keep``."""
    config = make_config(**trial.settings, seed=trial.seed)
    report = run_experiment(
        config, trial.folder, progress=progress, grouping_only=study.grouping_only
    )
    return {name: report[name] for name in study.keep if name in report}
