"""Figures of the scores by task, fair to tasks whose returns differ in scale."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgx_jax.experiments.report.style import (
    INK,
    WIDTH,
    check_titles,
    fitted_name,
    legend_above,
    method_colour,
    method_marker,
    new_figure,
    numbered_names,
    styled,
)
from pgx_jax.experiments.report.text import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A task is squeezed where its methods differ by more than this share of its own scores, and by
# less than that share of an axis that all tasks have in common.
_VISIBLE, _SQUEEZED = 0.02, 0.05


def source_squeezed(scores: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether the differences in some source task vanish on an axis common to all tasks."""
    mean, error = _table(scores, names)
    return bool(_squeezed(mean, error).any())


def held_out_squeezed(scores: Mapping[str, Any]) -> bool:
    """Whether the differences in a tenth of the held-out tasks vanish on a common axis."""
    values = np.array([score["test"]["tasks"] for score in scores.values()], float)
    return bool(_squeezed(values, np.zeros_like(values)).mean() > 0.1)


def _table(scores: Mapping[str, Any], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of the source tasks, float[methods, n] each."""
    cells = [[score["source"]["tasks"][name] for name in names] for score in scores.values()]
    both = np.array(
        [[[cell["mean"], cell["standard_error"]] for cell in row] for row in cells], float
    )
    return both[..., 0], both[..., 1]


def _squeezed(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """bool[n], from float[methods, n] each."""
    span, level = np.ptp(mean, axis=0), np.abs(mean).max(axis=0)
    differ = (span > 2 * error.max(axis=0)) & (span > _VISIBLE * level)
    return differ & (span < _SQUEEZED * np.ptp(mean))


def relative_scores(values: np.ndarray) -> np.ndarray:
    """Scores float[methods, tasks] over the largest magnitude in their task; 0 where all are 0."""
    largest = np.abs(values).max(axis=0)
    return values / np.where(largest > 0, largest, 1.0)


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
    mean, error = (part[:, order] for part in _table(scores, names))
    pitch = max(0.055 * len(scores) + 0.06, 0.25) if len(names) > 20 else 0.42
    figure = new_figure(WIDTH, 1.1 + pitch * len(names))
    squeezed = bool(_squeezed(mean, error).any())
    panels = figure.subplots(1, 1 + squeezed, sharey=True, squeeze=False)[0]
    _draw_tasks(panels[0], mean, error, scores, titles)
    panels[0].grid(axis="x")
    panels[0].set_xlabel(f"mean {noun}")
    if squeezed:
        low, high = (mean - error).min(axis=0), (mean + error).max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        _draw_tasks(panels[1], (mean - low) / span, error / span, scores, titles)
        for row, ends in enumerate(zip(low, high, strict=True)):
            for place, value, side in zip((-0.05, 1.05), ends, ("right", "left"), strict=True):
                text = significant(float(value), 4)
                panels[1].text(place, row, text, ha=side, va="center", fontsize=7.0)
        panels[1].set_xlim(-0.38, 1.38)
        panels[1].set_xticks([])
        panels[1].set_xlabel("the same, each task on its own axis")
    numbered = numbered_names(names)
    panels[0].set_yticks(range(len(names)), [fitted_name(numbered[task]) for task in order])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0, **({"labelsize": 7.0} if len(names) > 20 else {}))
    _group_margin(panels, np.asarray(labels)[order])
    legend_above(figure, panels[0])
    return figure


def _draw_tasks(
    axes: "Axes",
    mean: np.ndarray,
    error: np.ndarray,
    scores: Mapping[str, Any],
    titles: Mapping[str, str],
) -> None:
    """A row a task with a mark a method, from float[methods, n] each."""
    rows = np.arange(mean.shape[1])
    offsets = np.linspace(-0.3, 0.3, len(scores)) if len(scores) > 1 else np.zeros(1)
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color="#808080", alpha=0.09, linewidth=0)
    for number, (offset, method) in enumerate(zip(offsets, scores, strict=True)):
        place = list(titles).index(method)
        axes.errorbar(
            mean[number],
            rows + offset,
            xerr=error[number],
            fmt=method_marker(place),
            color=method_colour(place),
            markersize=4.6 if len(rows) <= 20 else 3.8,
            markeredgecolor="white",
            markeredgewidth=0.4,
            elinewidth=1.0,
            label=titles[method],
        )


def _group_margin(panels: Sequence["Axes"], sorted_labels: np.ndarray) -> None:
    """Lines between the groups of panels that list tasks, and their names at the right."""
    groups = np.unique(sorted_labels)
    for group in groups:
        members = np.flatnonzero(sorted_labels == group)
        for axes in panels if members[0] > 0 else ():
            axes.axhline(members[0] - 0.5, color=INK, linewidth=0.8)
        panels[-1].text(
            1.01,
            members.mean(),
            f"group {group + 1}",
            transform=panels[-1].get_yaxis_transform(),
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

    Raises:
        ValueError: a method lacks a title, or methods differ in their number of held-out tasks.
    """
    check_titles(scores, titles)
    sizes = {method: len(scores[method]["test"]["tasks"]) for method in scores}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"methods differ in their number of held-out tasks: {sizes}")
    values = np.array([scores[method]["test"]["tasks"] for method in scores], float)
    figure = new_figure(WIDTH, 0.7 + 0.62 * len(scores))
    squeezed = held_out_squeezed(scores)
    panels = figure.subplots(1, 1 + squeezed, sharey=True, squeeze=False)[0]
    for row, method in enumerate(scores):
        place, test = list(titles).index(method), scores[method]["test"]
        _draw_held_out(panels[0], row, values[row], test["mean"], test["standard_error"], place)
    panels[0].set_xlabel(f"mean {noun} of a held-out task")
    if squeezed:
        for row, (method, own) in enumerate(zip(scores, relative_scores(values), strict=True)):
            error = float(own.std(ddof=1) / np.sqrt(own.size)) if own.size > 1 else 0.0
            place = list(titles).index(method)
            _draw_held_out(panels[1], row, own, float(own.mean()), error, place)
        panels[1].set_xlabel("share of the task's largest magnitude")
    shown = [fitted_name(titles[method], 24 if squeezed else 40) for method in scores]
    panels[0].set_yticks(range(len(scores)), shown)
    panels[0].set_ylim(len(scores) - 0.45, -0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    return figure


def _draw_held_out(
    axes: "Axes", row: int, values: np.ndarray, mean: float, error: float, place: int
) -> None:
    """Marks, box and mean of one method."""
    colour = method_colour(place)
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
        [mean],
        [row - 0.2],
        xerr=[error],
        fmt="D",
        color=INK,
        markersize=4.4,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1.4,
        capsize=2.5,
        zorder=4,
    )


def _spread(count: int) -> np.ndarray:
    """float[count] in [0, 1): the van der Corput sequence, an even jitter without chance."""
    places = np.arange(32)
    return (np.arange(count)[:, None] >> places & 1) @ 0.5 ** (places + 1)
