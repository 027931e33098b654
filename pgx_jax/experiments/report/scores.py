"""Scores of the methods, over all tasks and by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgx_jax.experiments.report.score_figures import (
    held_out_figure,
    held_out_squeezed,
    source_squeezed,
    task_score_figure,
)
from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.style import method_colour, numbered_names
from pgx_jax.experiments.report.text import metric_digits, metric_noun, number, plural, setting

_INDEX_CAPTION = (
    " ARI: adjusted Rand index of the method's groups against the known ones (1: equal, about 0: "
    "chance)."
)


def _scores(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """One row per method: scores, costs, sizes."""
    scores, titles = report["scores"], report["methods"]
    indices = report.get("method_adjusted_rand_index")
    first, several = next(iter(scores)), setting(report, "eval_episodes") > 1
    head = [
        "Method",
        "Source tasks, mean ± SE",
        "Held-out tasks, mean ± SE",
        f"Held-out, minus {titles[first]}",
        "Environment steps",
        "Parameters",
        "Groups (tasks)",
    ]
    if indices is not None:
        head.append("ARI")
    digits = metric_digits(report)
    methods = []
    for place, (method, title) in enumerate(titles.items()):
        source, test = scores[method]["source"], scores[method]["test"]
        tasks = test["tasks"]
        cells = [
            title,
            _mean_error(source, digits, several),
            _mean_error(test, digits, len(tasks) > 1),
            "" if method == first else _paired(tasks, scores[first]["test"]["tasks"], digits),
            f"{report['total_env_steps'][method]:,}",
            f"{report['num_params'][method]:,}",
            _sizes(report["method_labels"][method]),
        ]
        if indices is not None:
            cells.append(number(indices[method], 2))
        methods.append({"colour": method_colour(place), "cells": cells})
    return {"head": head, "methods": methods, "caption": _score_caption(report)}


def _score_caption(report: Report) -> str:
    held_out = len(next(iter(report["scores"].values()))["test"]["tasks"])
    episodes, test_episodes, trials = (
        setting(report, name) for name in ("eval_episodes", "test_episodes", "selection_episodes")
    )
    return (
        f"Mean {metric_noun(report)}. Source: {plural(report['num_tasks'], 'fixed task')}, "
        f"{plural(episodes, 'episode')} each; the standard error comes from episodes alone. "
        f"Held-out: {plural(held_out, 'task')} drawn alike, {plural(test_episodes, 'episode')} "
        "each; the standard error comes from the tasks. A held-out task takes the policy that did "
        f"best in {plural(trials, 'trial episode')}, on top of the steps shown. Differences are "
        "paired by task. One training seed: no figure here shows the spread over seeds."
        + (_INDEX_CAPTION if "method_adjusted_rand_index" in report else "")
    )


def _tasks(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """Scores of every source task and of the held-out tasks."""
    scores, titles = report["scores"], report["methods"]
    noun = metric_noun(report)
    source = (
        f"Mean {noun} of the evaluation; bars are ± 1 standard error over episodes. Tasks are "
        "ordered by PolicyGradEx group."
    )
    if source_squeezed(scores, report["task_names"]):
        source += (
            f" Left: one axis for all tasks. Right: an axis for each task, from its lowest to its "
            f"highest value; both are written beside it, in units of the {noun}."
        )
    held_out = (
        "Each mark is a held-out task. The box spans the quartiles, its line is the median, the "
        "whiskers reach the extremes. Dark diamond: mean ± 1 standard error over tasks. All "
        "methods meet the same held-out tasks."
    )
    if held_out_squeezed(scores):
        held_out += (
            f" Left: {noun}. Right: {noun} divided by the largest magnitude that any method has "
            "in the same task, so that tasks of all scales weigh the same (no unit)."
        )
    names, labels = report["task_names"], report["labels"]
    return {
        "source": figures.add(
            task_score_figure(scores, titles, names, labels, noun=noun),
            "Score of every source task",
            source,
            "Dots with error bars: score of every source task under every method. "
            "The numbers are in the table below.",
        ),
        "held_out": figures.add(
            held_out_figure(scores, titles, noun=noun),
            "Scores of the held-out tasks",
            held_out,
            "Distribution of the held-out tasks' scores for every method.",
        ),
        "head": ["Task", "Group", *titles.values()],
        "rows": _task_rows(report),
        "caption": f"Mean {noun} ± standard error.",
    }


def _task_rows(report: Report) -> list[list[Any]]:
    several, digits = setting(report, "eval_episodes") > 1, metric_digits(report)
    names, numbered = report["task_names"], numbered_names(report["task_names"])
    rows = []
    for task in np.argsort(report["labels"], kind="stable").tolist():
        cells = [
            report["scores"][method]["source"]["tasks"][names[task]] for method in report["methods"]
        ]
        shown = [_mean_error(cell, digits, several) for cell in cells]
        rows.append([numbered[task], report["labels"][task] + 1, *shown])
    return rows


def _mean_error(score: Mapping[str, Any], digits: int, known: bool = True) -> str:
    """Mean ± standard error; the mean alone where a single value gives no error."""
    mean = number(score["mean"], digits)
    return f"{mean} ± {number(score['standard_error'], digits)}" if known else mean


def _paired(tasks: Sequence[float], reference: Sequence[float], digits: int) -> str:
    """Mean difference ± its standard error, over tasks that both methods met."""
    difference = np.subtract(tasks, reference)
    mean = float(difference.mean())
    sign = "+" if round(mean, digits) > 0 else ""
    if len(difference) < 2:
        return sign + number(mean, digits)
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return f"{sign}{number(mean, digits)} ± {number(error, digits)}"


def _sizes(labels: Sequence[int]) -> str:
    """How many groups, and of how many tasks."""
    sizes = sorted((list(labels).count(group) for group in set(labels)), reverse=True)
    if len(sizes) <= 4:
        return f"{len(sizes)} ({', '.join(str(size) for size in sizes)})"
    if sizes[0] == sizes[-1]:
        return f"{len(sizes)} ({sizes[0]} each)"
    return f"{len(sizes)} ({sizes[-1]} to {sizes[0]} each)"


def _compared(report: Report) -> bool:
    return bool(report["scores"])


SCORES = Section("Scores", _scores, "scores.html.jinja", _compared)
TASKS = Section("Scores by task", _tasks, "tasks.html.jinja", _compared)
