"""What a study is, and how one is run: cases by seeds, one file of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pgx_jax.experiments.config import config_values, make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import run_experiment
from pgx_jax.registry import Registry, unknown_name

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
        num_seeds: seeds 0 to num_seeds - 1.
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

    def part(self, cases: Sequence[str] = (), num_seeds: int | None = None) -> "Study":
        """The study with some of its cases, or with another number of seeds.

        Args:
            cases: their names; none keeps all.
            num_seeds: at least 1; None keeps the number.

        Returns:
            The smaller study.

        Raises:
            ValueError: an unknown case (the nearest one is suggested), or no seed.
        """
        for name in cases:
            if name not in self.cases:
                raise ValueError(unknown_name(f'case of "{self.name}"', name, self.cases))
        if num_seeds is not None and num_seeds < 1:
            raise ValueError(f"seeds is {num_seeds}; it must be at least 1")
        chosen = {name: self.cases[name] for name in cases or self.cases}
        return replace(self, cases=chosen, num_seeds=num_seeds or self.num_seeds)


STUDIES: Registry[Study] = Registry("study")


def run_study(
    study: Study,
    out: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run or resume a study.

    Args:
        study: what to run.
        out: folder for the artifacts of its runs.
        overrides: settings that replace those of every case.
        progress: tells a person.

    Returns:
        Plain JSON values: ``what``, ``config`` by case, ``seeds``, ``summary``, and ``runs``, all
        rows by case.

    Raises:
        ValueError: a setting is outside its range; before anything runs.
        ImportError, ArtifactError, HostEnvironmentError: as ``run_experiment``.
    """
    progress = progress or Progress(quiet=True)
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    cases = {name: {**settings, **overrides} for name, settings in study.cases.items()}
    configs = {name: make_config(**settings) for name, settings in cases.items()}
    rows: dict[str, list[Row]] = {name: [] for name in cases}
    for seed in range(study.num_seeds):
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
        "seeds": list(range(study.num_seeds)),
        "summary": study.summarise(rows),
        "runs": rows,
    }


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """A summary as lines of text: one for each mapping that holds more than mappings."""
    lines = []
    for name, value in summary.items():
        if isinstance(value, Mapping) and all(map(_holds_more, value.values())):
            lines += [f"{name}, {line}" for line in summary_lines(value)]
        else:
            lines.append(f"{name}: {_text(value)}")
    return lines


def _holds_more(value: Any) -> bool:
    return isinstance(value, Mapping) and not _is_interval(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"mean", "low", "high"}


def _text(value: Any) -> str:
    if _is_interval(value):
        spread = "" if value["low"] is None else f" [{value['low']:.4g}, {value['high']:.4g}]"
        return f"{value['mean']:.4g}{spread}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items()) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _experiment(study: Study, trial: Trial, progress: Progress) -> Row:
    """A whole run; the row is what its report holds under ``study.keep``."""
    config = make_config(**trial.settings, seed=trial.seed)
    report = run_experiment(
        config, trial.folder, progress=progress, grouping_only=study.grouping_only
    )
    return {name: report[name] for name in study.keep if name in report}
