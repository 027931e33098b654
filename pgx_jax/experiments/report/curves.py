"""Learning curves: returns, or another metric, of training episodes against steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.style import (
    META_COLOUR,
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
from pgx_jax.experiments.report.text import metric_noun, plural, short_count
from pgx_jax.experiments.report.trainings import (
    SMOOTHING,
    Curve,
    Training,
    common_tasks,
    mean_curve,
    read_training,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A panel for each task up to this many.
LARGEST_PANELS = 20
# Meta-training beside the methods, which have names of their own.
_META = "meta-training"


def _curves(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """Learning curves of meta-training and of every method, over all tasks and by task."""
    titles = report.get("methods", {})
    names, noun = report["task_names"], metric_noun(report)
    trainings = _trainings(report, rows)
    if not trainings:
        return {"silent": True, "mean": None, "by_task": None}
    common = common_tasks(trainings.values(), names)
    rule = (
        f"Mean {noun} of training episodes, smoothed by a running mean over {SMOOTHING:.0%} of "
        "each training; one of fewer than 30 updates is shown as it is. A task that ended no "
        "episode in an update keeps its last known mean. "
    )
    before = (
        "A method's steps count from where it had spent its share on meta-training and "
        "estimation. Groups train one beside the other; their steps are added up. "
        if set(trainings) != {_META}
        else ""
    )
    silent = [title for name, title in {_META: _META, **titles}.items() if name not in trainings]
    if silent:
        before += f"No episode ended in: {', '.join(silent)}. "
    drawn = "".join(f", {titles[name]}" for name in trainings if name != _META)
    mean = by_task = None
    if common:
        caption = (
            f"{rule}All curves average the same {plural(len(common), 'task')}, so tasks of larger "
            "scale move them more; each begins where all of these had ended an episode. "
            f"{before}{_left_out(names, common, trainings, titles)}"
        )
        means = {name: mean_curve(training, common) for name, training in trainings.items()}
        curves = {name: curve for name, curve in means.items() if curve is not None}
        meta = curves.pop(_META, None)
        mean = figures.add(
            learning_curve_figure(meta, curves, titles, noun=noun),
            f"Mean {noun} over tasks during training",
            caption.strip(),
            f"Learning curves of meta-training{drawn}.",
        )
    if 1 < len(names) <= LARGEST_PANELS:
        by_task = figures.add(
            task_curve_figure(trainings, titles, names, noun=noun),
            f"Mean {noun} of every task during training",
            f"{rule}Every task has a vertical axis of its own, in units of the {noun}."
            + ("" if common else f" {before}".rstrip()),
            f"Learning curves by task of meta-training{drawn}.",
        )
    return {"silent": False, "mean": mean, "by_task": by_task}


CURVES = Section("Learning curves", _curves, "curves.html.jinja")


def _trainings(report: Report, rows: Sequence[Report]) -> dict[str, Training]:
    """Meta-training and the training of every method, where an episode ended."""
    by_stage: dict[str, list[Report]] = {}
    for row in rows:
        by_stage.setdefault(row["stage"], []).append(row)
    key = "returns" if report["metric"] == "return" else report["metric"]
    found = {_META: read_training(by_stage.get("meta", []), key=key)}
    for method in report.get("methods", {}):
        before = sum(
            steps
            for purpose, steps in report["env_steps"][method].items()
            if purpose not in ("training", "total")
        )
        found[method] = read_training(by_stage.get(f"train/{method}", []), before, key=key)
    return {name: training for name, training in found.items() if training is not None}


def _left_out(
    names: Sequence[str],
    common: Sequence[str],
    trainings: Mapping[str, Training],
    titles: Mapping[str, str],
) -> str:
    """Which tasks no curve averages, and whose episodes are missing; empty where none is."""
    absent = [name for name in names if name not in common]
    if not absent:
        return ""
    shown = "; ".join(absent[:5]) + ("; ..." if len(absent) > 5 else "")
    lacking = [
        f"{titles.get(name, name)} ({len(names) - len(training.returns)})"
        for name, training in trainings.items()
        if len(training.returns) < len(names)
    ]
    return (
        f"{plural(len(absent), 'task')} left out of every curve, because some training ended no "
        f"episode in it: {shown}. Tasks without an episode by training: {', '.join(lacking)}."
    )


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

    Raises:
        ValueError: a method lacks a title.
    """
    check_titles(curves, titles)
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    if meta is not None:
        _draw(axes, meta, _META, titles)
    for method, curve in curves.items():
        _draw(axes, curve, method, titles)
    axes.grid()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(short_count)
    axes.set_xlabel(_step_label(curves))
    axes.set_ylabel(f"mean {noun} over tasks")
    _legend(figure, axes, titles, ([] if meta is None else [_META]) + list(curves))
    return figure


@styled
def task_curve_figure(
    trainings: Mapping[str, Training],
    titles: Mapping[str, str],
    names: Sequence[str],
    *,
    noun: str = "episode return",
) -> "Figure":
    """One panel a task, each with a vertical axis of its own.

    Args:
        trainings: per method, and "meta-training".
        titles: of the methods; their order fixes the colours.
        names: of the tasks.
        noun: what the values are.

    Returns:
        The figure; a panel is empty where a task ended no episode.

    Raises:
        ValueError: a method lacks a title.
    """
    check_titles([name for name in trainings if name != _META], titles)
    columns = 2 if len(names) <= 4 else 3
    rows = -(-len(names) // columns)
    figure = new_figure(WIDTH, 0.9 + 1.75 * rows)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes, name, title in zip(panels, names, numbered_names(names), strict=False):
        for training_name, training in trainings.items():
            if name in training.returns:
                curve = mean_curve(training, [name])
                assert curve is not None
                _draw(axes, curve, training_name, titles)
        if not axes.lines:
            axes.text(0.5, 0.5, "no episode ended", transform=axes.transAxes, ha="center")
            axes.set_yticks([])
        axes.set_title(fitted_name(title, 38, 2), fontsize=8.0, loc="left")
        axes.grid()
        axes.xaxis.set_major_formatter(short_count)
        axes.tick_params(labelsize=7.5)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    # The last panel of every column has the labels that its column shares.
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.tick_params(labelbottom=True)
    panels[0].set_xlim(left=0)
    figure.supxlabel(_step_label([name for name in trainings if name != _META]), fontsize=9.0)
    figure.supylabel(f"mean {noun}", fontsize=9.0)
    _legend(figure, panels[0], titles, list(trainings))
    return figure


def _step_label(methods: Any) -> str:
    return "environment steps" + (", all groups together" if methods else "")


def _look(name: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """Colour, line and marker of a training."""
    if name == _META:
        return {"color": META_COLOUR, "linewidth": 1.6, "linestyle": "--", "marker": "o"}
    place = list(titles).index(name)
    return {
        "color": method_colour(place),
        "linewidth": 1.8 if place == 0 else 1.4,
        "marker": method_marker(place),
    }


def _draw(axes: "Axes", curve: Curve, name: str, titles: Mapping[str, str]) -> None:
    """A line with a marker at its end."""
    axes.plot(
        *curve,
        **_look(name, titles),
        markevery=[-1],
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        clip_on=False,
    )


def _legend(figure: "Figure", axes: "Axes", titles: Mapping[str, str], names: Any) -> None:
    handles = []
    for name in names:
        look = _look(name, titles) | {"linewidth": 1.5, "markersize": 5}
        label = "meta-training (θ*)" if name == _META else titles[name]
        handles += axes.plot([], [], **look, label=label)
    legend_above(figure, axes, handles)
