"""Scores of the methods, over all tasks and by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgx_jax.experiments.report.markup import (
    Figures,
    escape,
    html_table,
    metric_digits,
    metric_noun,
    number,
    plural,
    td,
    th,
)
from pgx_jax.experiments.report.score_figures import (
    held_out_figure,
    held_out_squeezed,
    source_squeezed,
    task_score_figure,
)
from pgx_jax.experiments.report.style import method_colour, numbered_names

_INDEX_CAPTION = (
    " ARI: adjusted Rand index of the method's groups against the known ones (1: equal, about 0: "
    "chance)."
)


def score_section(report: dict[str, Any]) -> str:
    """One row per method: scores, costs, sizes."""
    scores, titles = report["scores"], report["methods"]
    config = report["config"]
    indices = report.get("method_adjusted_rand_index")
    first = next(iter(scores))
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
    rows = []
    for place, (method, title) in enumerate(titles.items()):
        source, test = scores[method]["source"], scores[method]["test"]
        tasks = test["tasks"]
        key = f'<span class="key" style="background:{method_colour(place)}"></span>'
        row = [
            f'<th scope="row" class="method">{key}{escape(title)}</th>',
            td(_mean_error(source, digits, known=config["eval_episodes"] > 1)),
            td(_mean_error(test, digits, known=len(tasks) > 1)),
            td("" if method == first else _paired(tasks, scores[first]["test"]["tasks"], digits)),
            td(f"{report['total_env_steps'][method]:,}"),
            td(f"{report['num_params'][method]:,}"),
            td(_sizes(report["method_labels"][method])),
        ]
        if indices is not None:
            row.append(td(number(indices[method], 2)))
        rows.append(row)
    table = html_table(
        head, rows, _score_caption(report), numbers=set(range(1, len(head))), wide=True
    )
    return f'<section id="scores">\n<h2>Scores</h2>\n{table}\n</section>'


def _score_caption(report: dict[str, Any]) -> str:
    config = report["config"]
    held_out = len(next(iter(report["scores"].values()))["test"]["tasks"])
    return (
        f"Mean {metric_noun(report)}. Source: {plural(report['num_tasks'], 'fixed task')}, "
        f"{plural(config['eval_episodes'], 'episode')} each; the standard error comes from "
        f"episodes alone. Held-out: {plural(held_out, 'task')} drawn alike, "
        f"{plural(config['test_episodes'], 'episode')} each; the standard error comes from the "
        "tasks. A held-out task takes the policy that did best in "
        f"{plural(config['selection_episodes'], 'trial episode')}, on top of the steps shown. "
        "Differences are paired by task. One training seed: no figure here shows the spread "
        "over seeds." + (_INDEX_CAPTION if "method_adjusted_rand_index" in report else "")
    )


def task_section(report: dict[str, Any], figures: Figures) -> str:
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
    return "\n".join(
        [
            '<section id="tasks">\n<h2>Scores by task</h2>',
            figures.add(
                task_score_figure(
                    scores, titles, report["task_names"], report["labels"], noun=noun
                ),
                "Score of every source task",
                source,
                "Dots with error bars: score of every source task under every method. "
                "The numbers are in the table below.",
            ),
            _task_table(report),
            figures.add(
                held_out_figure(scores, titles, noun=noun),
                "Scores of the held-out tasks",
                held_out,
                "Distribution of the held-out tasks' scores for every method.",
            ),
            "</section>",
        ]
    )


def _task_table(report: dict[str, Any]) -> str:
    scores, titles = report["scores"], report["methods"]
    known, digits = report["config"]["eval_episodes"] > 1, metric_digits(report)
    order = np.argsort(report["labels"], kind="stable").tolist()
    numbered = numbered_names(report["task_names"])
    rows = [
        [th(numbered[task]), td(report["labels"][task] + 1)]
        + [
            td(
                _mean_error(
                    scores[method]["source"]["tasks"][report["task_names"][task]], digits, known
                )
            )
            for method in titles
        ]
        for task in order
    ]
    head = ["Task", "Group", *titles.values()]
    table = html_table(
        head,
        rows,
        f"Mean {metric_noun(report)} ± standard error.",
        set(range(1, len(head))),
        True,
    )
    return f"<details>\n<summary>Scores per task, as numbers</summary>\n{table}\n</details>"


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
