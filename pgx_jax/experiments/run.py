"""A whole run: from a configuration to a folder with report.json, metrics.jsonl, report.html."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.families import make_family
from pgx_jax.experiments.compare import compare_methods
from pgx_jax.experiments.config import check_config
from pgx_jax.experiments.diagnostics import DIAGNOSTICS, RunEvidence
from pgx_jax.experiments.estimate import estimate_groups
from pgx_jax.experiments.initial import check_experts
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.record import Report, learning_curves, make_report, summary_lines
from pgx_jax.experiments.render import render_strips
from pgx_jax.experiments.report.page import render_page
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder, write_atomically
from pgx_jax.grouping import import_cvxpy


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
    family = family_of(config)
    check_experts(family, config.training.start)
    check_output_folder(out)
    environment = config.tasks.environment
    progress.line(f"{environment}, preset {config.preset}, seed {config.seed} -> {out}")
    for note in family.notes:
        progress.line(f"  {note}")
    runner = StageRunner(out, progress)
    try:
        estimated = estimate_groups(runner, family, config)
        evidence = estimated.evidence
        progress.line(f"groups: {[int(one) for one in evidence.estimate.grouping.labels]}")
        comparison = None
        if config.comparison.methods and not grouping_only:
            comparison = compare_methods(runner, family, config, estimated)
        strips = render_strips(runner, family, config, progress) if render else []
        report = make_report(runner, config, family, evidence, comparison)
        report["diagnostics"] = _measured(config, RunEvidence(evidence, family, report))
    finally:
        if family.close is not None:
            family.close()
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


def _measured(config: RunConfig, run: RunEvidence) -> Report:
    """What the diagnostics say, as plain JSON values by their names."""

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) else np.asarray(value).item()

    return {
        one.name: {
            "title": one.title,
            "values": {label: plain(value) for label, value in one.measure(run).items()},
        }
        for one in map(DIAGNOSTICS.find, config.comparison.diagnostics)
    }


def family_of(config: RunConfig) -> TaskFamily:
    """The tasks of a configuration, their identity hidden or shown as it says."""
    tasks = config.tasks
    return make_family(
        tasks.environment,
        num_tasks=tasks.num_tasks,
        num_test_tasks=config.comparison.evaluation.num_test_tasks,
        seed=tasks.task_seed,
        backend=tasks.backend,
        ranges=tasks.ranges,
        task_file=tasks.task_file,
        identity=tasks.identity,
    )
