"""Learning curves: returns, or another metric, of training episodes against steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pgx_jax.experiments.report.markup import Figures, metric_noun, plural, short_count
from pgx_jax.experiments.report.style import (
    META_COLOUR,
    WIDTH,
    check_titles,
    legend_above,
    method_colour,
    method_marker,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points drawn, and the share of the training that a point averages over.
_CURVE_POINTS = 300
SMOOTHING = 0.05


class Curve(NamedTuple):
    """A learning curve, ready to draw.

    Attributes:
        env_steps: float[points], environment steps spent, all groups together.
        returns: float[points], mean over the tasks, smoothed.
        missing: tasks of which no episode ended in the whole training; not in the mean.
    """

    env_steps: np.ndarray
    returns: np.ndarray
    missing: int


def curve_section(report: dict[str, Any], rows: list[dict[str, Any]], figures: Figures) -> str:
    """Learning curves of meta-training and of every method."""
    titles = report.get("methods", {})
    count = report["num_tasks"]
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(row["stage"], []).append(row)
    noun = metric_noun(report)
    key = "returns" if report["metric"] == "return" else report["metric"]
    meta = learning_curve(by_stage.get("meta", []), count, key=key)
    curves = {}
    for method in titles:
        before = sum(
            steps
            for purpose, steps in report["env_steps"][method].items()
            if purpose not in ("training", "total")
        )
        curve = learning_curve(by_stage.get(f"train/{method}", []), count, before, key=key)
        if curve is not None:
            curves[method] = curve
    head = '<section id="curves">\n<h2>Learning curves</h2>'
    if meta is None and not curves:
        return f"{head}\n<p>No episode ended during training.</p>\n</section>"
    caption = (
        f"Mean {noun} of training episodes, smoothed by a running mean over {SMOOTHING:.0%} of "
        "each training; one of fewer than 30 updates is shown as it is. A task that ended no "
        "episode in an update is interpolated. "
    )
    if curves:
        caption += (
            "A curve starts where its method had spent its steps on meta-training and estimation. "
            "Groups train one beside the other; their steps are added up and their tasks "
            "averaged."
        )
    absent = {"meta-training": meta.missing if meta else 0}
    absent |= {titles[method]: curve.missing for method, curve in curves.items()}
    for title, missing in absent.items():
        if missing:
            caption += f" {title}: {plural(missing, 'task')} without any episode left out."
    figure = figures.add(
        learning_curve_figure(meta, curves, titles, noun=noun),
        f"Mean {noun} over tasks during training",
        caption,
        "Learning curves of meta-training"
        + "".join(f", {titles[method]}" for method in curves)
        + ".",
    )
    return f"{head}\n{figure}\n</section>"


def learning_curve(
    rows: Sequence[Mapping[str, Any]],
    num_tasks: int,
    offset: float = 0.0,
    *,
    key: str = "returns",
) -> Curve | None:
    """One curve of a training, from the rows of all its groups.

    Groups train one beside the other: at a share f of the training, every group is at f of its
    own updates, and the steps spent are the sum over the groups. A task without an episode in an
    update takes the value between its neighbours, or the nearest one at either end.

    Args:
        rows: of one stage, {"group", "env_steps", key: {task: mean}}.
        num_tasks: n.
        offset: environment steps spent before this training.
        key: where the rows hold their values.

    Returns:
        The curve; None where no episode ended.
    """
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    if not groups:
        return None
    longest = max(len(group) for group in groups.values())
    count = min(longest, _CURVE_POINTS)
    share = np.arange(1, count + 1) / count
    curves, total = [], 0
    for group in groups.values():
        last = max(row["env_steps"] for row in group)
        total += last
        for task in sorted({task for row in group for task in row[key]}):
            seen = [
                (row["env_steps"] / last, row[key][task])
                for row in sorted(group, key=lambda row: row["env_steps"])
                if task in row[key] and np.isfinite(row[key][task])
            ]
            if seen:
                curves.append(np.interp(share, *np.array(seen).T))
    if not curves:
        return None
    mean = _running_mean(np.mean(curves, axis=0), round(SMOOTHING * count) // 2)
    return Curve(offset + share * total, mean, num_tasks - len(curves))


def _running_mean(values: np.ndarray, half_width: int) -> np.ndarray:
    """Centred running mean, over what there is of the window at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first = np.maximum(index - half_width, 0)
    last = np.minimum(index + half_width + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


@styled
def learning_curve_figure(
    meta: Curve | None,
    curves: Mapping[str, Curve],
    titles: Mapping[str, str],
    *,
    noun: str = "episode return",
) -> "Figure":
    """Mean training return against environment steps.

    Args:
        meta: of meta-training.
        curves: per method.
        titles: of the methods; their order fixes the colours.
        noun: what the values are.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a title.
    """
    check_titles(curves, titles)
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    if meta is not None:
        axes.plot(*meta[:2], color=META_COLOUR, linewidth=1.6, linestyle="--")
        _end_marker(axes, meta, META_COLOUR, "o")
        axes.plot(
            [], [], color=META_COLOUR, linewidth=1.6, linestyle="--", label="meta-training (θ*)"
        )
    for method, curve in curves.items():
        place = list(titles).index(method)
        colour, marker = method_colour(place), method_marker(place)
        axes.plot(*curve[:2], color=colour, linewidth=1.8 if place == 0 else 1.4)
        _end_marker(axes, curve, colour, marker)
        axes.plot([], [], color=colour, marker=marker, markersize=5, label=titles[method])
    axes.grid()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(short_count)
    axes.set_xlabel("environment steps" + (", all groups together" if curves else ""))
    axes.set_ylabel(f"mean {noun} over tasks")
    legend_above(figure, axes)
    return figure


def _end_marker(axes: "Axes", curve: Curve, colour: str, marker: str) -> None:
    axes.plot(
        curve.env_steps[-1:],
        curve.returns[-1:],
        marker=marker,
        color=colour,
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=4,
        clip_on=False,
    )
