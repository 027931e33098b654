"""Scores of the methods, over all tasks and by task."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from pgx_jax.experiments.report.style import (
    INK,
    WIDTH,
    check_titles,
    legend_above,
    method_colour,
    method_marker,
    new_figure,
    short_name,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    return "\n".join(
        [
            '<section id="tasks">\n<h2>Scores by task</h2>',
            figures.add(
                task_score_figure(
                    scores, titles, report["task_names"], report["labels"], noun=noun
                ),
                "Score of every source task",
                f"Mean {noun} of the evaluation; bars are ± 1 standard error over "
                "episodes. Tasks are ordered by PolicyGradEx group.",
                "Dots with error bars: score of every source task under every method. "
                "The numbers are in the table below.",
            ),
            _task_table(report),
            figures.add(
                held_out_figure(scores, titles, noun=noun),
                "Scores of the held-out tasks",
                "Each mark is a held-out task. The box spans the quartiles, its line is the "
                "median, the whiskers reach the extremes. Dark diamond: mean ± 1 standard error "
                "over tasks. All methods meet the same held-out tasks.",
                "Distribution of the held-out tasks' scores for every method.",
            ),
            "</section>",
        ]
    )


def _task_table(report: dict[str, Any]) -> str:
    scores, titles = report["scores"], report["methods"]
    known, digits = report["config"]["eval_episodes"] > 1, metric_digits(report)
    order = np.argsort(report["labels"], kind="stable").tolist()
    rows = [
        [th(report["task_names"][task]), td(report["labels"][task] + 1)]
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


@styled
def task_score_figure(
    scores: Mapping[str, Any],
    titles: Mapping[str, str],
    names: Sequence[str],
    labels: Sequence[int],
    *,
    noun: str = "episode return",
) -> "Figure":
    """Score of every task under every method, with standard errors.

    Args:
        scores: per method, {"source": {"tasks": {name: {"mean", "standard_error"}}}}.
        titles: of the methods; their order fixes the colours.
        names: of the n tasks.
        labels: int[n], groups from 0, by which the tasks are ordered.
        noun: what the scores are.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a task or a title, or labels do not match names.
    """
    if len(labels) != len(names):
        raise ValueError(f"{len(labels)} labels for {len(names)} task names")
    check_titles(scores, titles)
    for method in scores:
        missing = [name for name in names if name not in scores[method]["source"]["tasks"]]
        if missing:
            raise ValueError(f"{method} has no source score for {', '.join(missing)}")
    order = [int(task) for task in np.argsort(labels, kind="stable")]
    pitch = max(0.055 * len(scores) + 0.06, 0.22) if len(names) > 20 else 0.42
    figure = new_figure(WIDTH, 1.1 + pitch * len(names))
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    offsets = np.linspace(-0.3, 0.3, len(scores)) if len(scores) > 1 else np.zeros(1)
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color="#808080", alpha=0.09, linewidth=0)
    for offset, method in zip(offsets, scores, strict=True):
        place = list(titles).index(method)
        tasks = scores[method]["source"]["tasks"]
        axes.errorbar(
            [tasks[names[task]]["mean"] for task in order],
            rows + offset,
            xerr=[tasks[names[task]]["standard_error"] for task in order],
            fmt=method_marker(place),
            color=method_colour(place),
            markersize=4.6 if len(names) <= 20 else 3.8,
            markeredgecolor="white",
            markeredgewidth=0.4,
            elinewidth=1.0,
            label=titles[method],
        )
    axes.set_yticks(rows, [short_name(names[task]) for task in order])
    if len(names) > 20:
        axes.tick_params(axis="y", labelsize=7.0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(f"mean {noun}")
    _group_margin(axes, np.asarray(labels)[order])
    legend_above(figure, axes)
    return figure


def _group_margin(axes: "Axes", sorted_labels: np.ndarray) -> None:
    """Lines between the groups of an axis that lists tasks, and their names at the right."""
    groups = np.unique(sorted_labels)
    for group in groups:
        members = np.flatnonzero(sorted_labels == group)
        if members[0] > 0:
            axes.axhline(members[0] - 0.5, color=INK, linewidth=0.8)
        axes.text(
            1.01,
            members.mean(),
            f"group {group + 1}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.0 if len(sorted_labels) <= 20 else 7.0,
        )


@styled
def held_out_figure(
    scores: Mapping[str, Any], titles: Mapping[str, str], *, noun: str = "episode return"
) -> "Figure":
    """Distribution of the held-out tasks' scores, one row per method.

    Args:
        scores: per method, {"test": {"mean", "standard_error", "tasks": [float]}}.
        titles: of the methods; their order fixes the colours.
        noun: what the scores are.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a title, or methods differ in their number of held-out tasks.
    """
    check_titles(scores, titles)
    sizes = {method: len(scores[method]["test"]["tasks"]) for method in scores}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"methods differ in their number of held-out tasks: {sizes}")
    figure = new_figure(WIDTH, 0.7 + 0.62 * len(scores))
    axes = figure.add_subplot()
    for row, method in enumerate(scores):
        place = list(titles).index(method)
        colour = method_colour(place)
        test = scores[method]["test"]
        values = np.asarray(test["tasks"], float)
        axes.plot(
            values,
            row + 0.08 + 0.26 * _spread(len(values)),
            method_marker(place),
            color=colour,
            alpha=0.55,
            markersize=3.4,
            markeredgewidth=0,
        )
        axes.boxplot(
            [values],
            positions=[row - 0.2],
            widths=0.22,
            orientation="horizontal",
            whis=(0, 100),
            showcaps=False,
            medianprops={"color": colour, "linewidth": 2.0},
            boxprops={"color": colour},
            whiskerprops={"color": colour},
            manage_ticks=False,
        )
        axes.errorbar(
            [test["mean"]],
            [row - 0.2],
            xerr=[test["standard_error"]],
            fmt="D",
            color=INK,
            markersize=4.4,
            markeredgecolor="white",
            markeredgewidth=0.6,
            elinewidth=1.4,
            capsize=2.5,
            zorder=4,
        )
    axes.set_yticks(range(len(scores)), [titles[method] for method in scores])
    axes.set_ylim(len(scores) - 0.45, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(f"mean {noun} of a held-out task")
    return figure


def _spread(count: int) -> np.ndarray:
    """float[count] in [0, 1): the van der Corput sequence, an even jitter without chance."""
    values = []
    for index in range(count):
        value, part, rest = 0.0, 0.5, index
        while rest:
            value += part * (rest & 1)
            rest >>= 1
            part /= 2
        values.append(value)
    return np.array(values)
