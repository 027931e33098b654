"""What a run found, as plain values: the report, the learning curves, a few lines of text."""

from typing import Any

import jax
import numpy as np

from pgx_jax.diagnostics import adjusted_rand_index
from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.compare import Comparison
from pgx_jax.experiments.config import config_values
from pgx_jax.experiments.methods import METHODS, Evidence
from pgx_jax.experiments.provenance import package_versions
from pgx_jax.experiments.report.text import metric_digits
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.stages import StageRunner

Report = dict[str, Any]


def make_report(
    runner: StageRunner,
    config: RunConfig,
    family: TaskFamily,
    evidence: Evidence,
    comparison: Comparison | None,
) -> Report:
    """Everything that a run found, as plain JSON values.

    Args:
        runner: holds the finished stages.
        config: the settings.
        family: the tasks.
        evidence: the estimate.
        comparison: None where nothing was trained per group.

    Returns:
        The report.
    """
    done, estimate = runner.finished, evidence.estimate
    facts, labels = done["grouping"].facts, np.asarray(estimate.grouping.labels)
    known_groups, subsets = family.groups, np.asarray(estimate.subsets)
    report: Report = {
        "environment": config.tasks.environment,
        "environment_description": family.description,
        "notes": [*family.notes, *_reproducibility(family)],
        "metric": family.metric,
        "warm_start": config.training.start.warm_start,
        "demonstrations": done["demonstrations"].facts if "demonstrations" in done else None,
        "preset": config.preset,
        "seed": config.seed,
        "versions": package_versions(),
        "device": str(jax.devices()[0]),
        "num_tasks": family.num_tasks,
        "num_subsets": len(subsets),
        "subset_size": int(subsets.sum(axis=1).max()),
        "dim": config.estimation.projection.dim,
        "num_groups": facts["num_groups"],
        "num_groups_given": config.estimation.grouping.num_groups is not None,
        "labels": labels.tolist(),
        "known_groups": None if known_groups is None else known_groups.tolist(),
        "adjusted_rand_index": None
        if known_groups is None
        else adjusted_rand_index(known_groups, labels),
        "task_names": list(family.train_names),
        "affinity": np.asarray(estimate.affinity).tolist(),
        "objective": facts["objective"],
        "upper_bound": facts["upper_bound"],
        "certified_gap": facts["certified_gap"],
        "solver_status": facts["status"],
        "selection": facts["selection"],
        "fits": done["fits"].facts,
        "meta_returns": _last_returns(done["meta"].value.metrics[family.metric]),
        "wall_seconds": {
            name: {
                "total": stage.about["wall_seconds"],
                "compile": stage.about["compile_seconds"],
                "reused": stage.reused,
            }
            for name, stage in done.items()
        },
        "config": config_values(config),
    }
    if comparison is not None:
        report |= {
            "methods": {
                one.name: one.title for one in map(METHODS.find, config.comparison.methods)
            },
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
            parts = {"group0": stage.value}
        elif name.startswith("train/"):
            parts = stage.value
        else:
            continue
        for part, curve in parts.items():
            for steps, returns in zip(curve.env_steps, curve.metrics[family.metric], strict=True):
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


def _last_returns(returns: np.ndarray, num_updates: int = 5) -> list[float | None]:
    """Mean return of each task over the last updates; None where no episode ended."""
    last = returns[-num_updates:]
    return [
        float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None
        for column in last.T
    ]
