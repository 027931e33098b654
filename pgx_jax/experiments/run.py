"""A whole run: from a configuration to a folder with report.json, metrics.jsonl, report.html."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.families import make_family
from pgx_jax.experiments.compare import METHODS, Comparison, compare_methods
from pgx_jax.experiments.config import RunConfig, check_config, config_fields
from pgx_jax.experiments.estimate import estimate_groups
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.render import render_strips
from pgx_jax.experiments.report.page import render_page
from pgx_jax.experiments.report.text import metric_digits
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder, write_atomically
from pgx_jax.grouping import import_cvxpy

_VERSIONED = (
    *("pgx_jax", "jax", "jaxlib", "numpy", "flax", "optax", "cvxpy", "clarabel"),
    *("gymnax", "gymnasium", "envpool", "highway-env", "metaworld", "mujoco", "brax"),
)

Report = dict[str, Any]


def run_experiment(
    config: RunConfig,
    out: Path,
    *,
    progress: Progress | None = None,
    grouping_only: bool = False,
    render: bool = False,
) -> Report:
    """Run or resume an experiment and write what it found.

    Finished stages of the same settings in ``out`` are reused. A killed run loses the stage at
    hand and nothing else.

    Args:
        config: the settings.
        out: folder for artifacts, ``metrics.jsonl``, ``report.json`` and ``report.html``.
        progress: tells a person; None tells nobody.
        grouping_only: stop at the groups; nothing is trained per group.
        render: put frames of the trained policies into the page, where they can be drawn.

    Returns:
        What ``report.json`` holds.

    Raises:
        ValueError: a setting is outside its range.
        ImportError: a package is missing.
        ArtifactError: the folder or an artifact in it cannot be used.
        HostEnvironmentError: an environment failed.
    """
    check_config(config)
    import_cvxpy()
    progress = progress or Progress(quiet=True)
    family = make_family(
        config.environment,
        num_tasks=config.num_tasks,
        num_test_tasks=config.num_test_tasks,
        seed=config.task_seed,
        backend=config.backend,
        ranges=config.ranges,
        task_file=config.task_file,
    )
    if config.warm_start == "experts" and family.experts is None:
        raise ValueError(f'"{family.name}" has no scripted experts; leave --warm-start out')
    check_output_folder(out)
    progress.line(f"{config.environment}, preset {config.preset}, seed {config.seed} -> {out}")
    for note in family.notes:
        progress.line(f"  {note}")
    runner = StageRunner(out, progress)
    try:
        estimate_groups(runner, family, config)
        labels = [int(label) for label in runner.finished["grouping"].tree["labels"]]
        progress.line(f"groups: {labels}")
        comparison = None if grouping_only else compare_methods(runner, family, config)
        strips = render_strips(runner, family, config, progress) if render and comparison else []
    finally:
        if family.close is not None:
            family.close()
    report = make_report(runner, config, family, comparison)
    report = json.loads(json.dumps(report))
    rows = learning_curves(runner, family)
    write_atomically(
        out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()
    )
    write_atomically(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(out / "report.html", render_page(report, rows, strips).encode())
    for line in summary_lines(report):
        progress.line(line)
    progress.line(f"report: {out / 'report.html'}")
    return report


def make_report(
    runner: StageRunner,
    config: RunConfig,
    family: TaskFamily,
    comparison: Comparison | None,
) -> Report:
    """Everything that a run found, as plain JSON values.

    Args:
        runner: holds the finished stages.
        config: the settings.
        family: the tasks.
        comparison: None where nothing was trained per group.

    Returns:
        The report.
    """
    done = runner.finished
    facts = done["grouping"].facts
    known_groups = family.groups
    report: Report = {
        "environment": config.environment,
        "environment_description": family.description,
        "notes": [*family.notes, *_reproducibility(family)],
        "metric": family.metric,
        "warm_start": config.warm_start,
        "demonstrations": done["demonstrations"].facts if "demonstrations" in done else None,
        "preset": config.preset,
        "seed": config.seed,
        "versions": package_versions(),
        "device": str(jax.devices()[0]),
        "num_tasks": family.num_tasks,
        "num_subsets": len(done["subsets"].tree["subsets"]),
        "subset_size": config.subset_size,
        "dim": config.dim,
        "num_groups": facts["num_groups"],
        "num_groups_given": config.num_groups is not None,
        "labels": done["grouping"].tree["labels"].tolist(),
        "known_groups": None if known_groups is None else known_groups.tolist(),
        "adjusted_rand_index": None
        if known_groups is None
        else adjusted_rand_index(known_groups, done["grouping"].tree["labels"]),
        "task_names": list(family.train_names),
        "affinity": done["affinity"].tree["affinity"].tolist(),
        "objective": facts["objective"],
        "upper_bound": facts["upper_bound"],
        "certified_gap": facts["certified_gap"],
        "solver_status": facts["status"],
        "selection": facts["selection"],
        "fits": done["fits"].facts,
        "meta_returns": _last_returns(done["meta"].tree["returns"]),
        "wall_seconds": {
            name: {
                "total": stage.about["wall_seconds"],
                "compile": stage.about["compile_seconds"],
                "reused": stage.reused,
            }
            for name, stage in done.items()
        },
        "config": config_fields(config),
    }
    if comparison is not None:
        report |= {
            "methods": {method.name: method.title for method in METHODS},
            "scores": comparison.scores,
            "total_env_steps": {k: v["total"] for k, v in comparison.env_steps.items()},
            "env_steps": comparison.env_steps,
            "held_out_selection_steps": comparison.selection_steps,
            "method_labels": comparison.labels,
            "num_params": comparison.num_params,
        }
        if known_groups is not None:
            report["method_adjusted_rand_index"] = {
                name: adjusted_rand_index(known_groups, np.asarray(found))
                for name, found in comparison.labels.items()
            }
    else:
        spent = {name: done[name].env_steps for name in ("meta", "transitions", "scores")}
        report |= {
            "scores": {},
            "total_env_steps": {"policygradex": sum(spent.values())},
            "env_steps": {"policygradex": {**spent, "total": sum(spent.values())}},
        }
    return report


def learning_curves(runner: StageRunner, family: TaskFamily) -> list[dict[str, Any]]:
    """One row per update of every training: stage, group, steps, mean metric per task.

    The values are under "returns", or under the name of the family's metric.

    A task without an episode that ended in the update, or outside the group, has no entry.
    """
    rows = []
    for name, stage in runner.finished.items():
        if name == "meta":
            parts = {"group0": stage.tree}
        elif name.startswith("train/"):
            parts = stage.tree
        else:
            continue
        for part, curve in parts.items():
            for steps, returns in zip(curve["env_steps"], curve["returns"], strict=True):
                seen = {
                    task: round(float(value), 3)
                    for task, value in zip(family.train_names, returns, strict=True)
                    if np.isfinite(value)
                }
                rows.append(
                    {
                        "stage": name,
                        "group": int(part.removeprefix("group")),
                        "env_steps": int(steps),
                        metric_key(family.metric): seen,
                    }
                )
    return rows


def metric_key(metric: str) -> str:
    """The key of a metric's values in a row of ``metrics.jsonl``."""
    return "returns" if metric == "return" else metric


def _reproducibility(family: TaskFamily) -> tuple[str, ...]:
    if getattr(family.environment, "reproducible", True):
        return ()
    return ("this backend does not promise equal results for equal seeds",)


def summary_lines(report: Report) -> list[str]:
    """The result in a few lines of text."""
    lines = []
    for group in range(report["num_groups"]):
        members = [
            name
            for name, label in zip(report["task_names"], report["labels"], strict=True)
            if label == group
        ]
        lines.append(f"group {group + 1} of {report['num_groups']}: {'; '.join(members)}")
    lines.append(
        f"clustering objective {report['objective']:.3f}, certified gap "
        f"{report['certified_gap']:.2g}"
    )
    if report["num_groups"] == 1 and report["scores"]:
        lines.append("one group: the methods differ in steps and chance, not in their groups")
    if report["scores"]:
        lines.append("mean ± standard error, over episodes (source) or over tasks (held-out):")
    digits = metric_digits(report)
    for name, scores in report["scores"].items():
        source, test = scores["source"], scores["test"]
        lines.append(
            f"{report['methods'][name]:<34} source {source['mean']:7.{digits}f} ± "
            f"{source['standard_error']:.{digits}f}   held-out {test['mean']:7.{digits}f} ± "
            f"{test['standard_error']:.{digits}f}   {report['total_env_steps'][name]:,} steps"
        )
    return lines


def adjusted_rand_index(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement of two partitions: 1 equal, about 0 by chance.

    Args:
        first: int[n], labels.
        second: int[n], labels; their numbering does not matter.

    Returns:
        At most 1.

    Reference:
        Hubert and Arabie (1985), "Comparing partitions".
    """
    table = (np.asarray(first)[:, None] == np.unique(first)).T.astype(float) @ (
        np.asarray(second)[:, None] == np.unique(second)
    )

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows, columns = pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / max(pairs(np.array([len(first)])), 1.0)
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (pairs(table) - expected) / (largest - expected)


def _last_returns(returns: np.ndarray, num_updates: int = 5) -> list[float | None]:
    """Mean return of each task over the last updates; None where no episode ended."""
    last = returns[-num_updates:]
    return [
        float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None
        for column in last.T
    ]


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
