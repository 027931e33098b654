"""Figures of a run's page: arrays in, matplotlib figures out, embedded as SVG text.

matplotlib is imported where it is used. Its object-oriented interface leaves no global state,
and equal inputs give equal bytes.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), told apart by readers with any common colour blindness; in the order of
# the methods. Markers differ besides.
METHOD_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#CC79A7",
    "#777777",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#B8A900",
)
METHOD_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
META_COLOUR = "#222222"
# Tol's light scheme: purposes of environment steps must not look like methods.
PURPOSE_COLOURS = {
    "meta": "#BBBBBB",
    "transitions": "#EEDD88",
    "scores": "#EE8866",
    "training": "#77AADD",
    "selection": "#BBCC33",
}
PURPOSE_TITLES = {
    "meta": "meta-training",
    "transitions": "transitions for features",
    "scores": "rollout scores",
    "training": "training the method's policies",
    "selection": "choosing among policies for held-out tasks",
}
_OTHER_PURPOSES = ("#FFAABB", "#99DDFF", "#44BB99", "#AAAA00")
_COMPUTE, _COMPILE = "#66717F", "#CCBB44"
_INK, _FAINT = "#222222", "#B5B5B5"

_WIDTH = 9.0
# Values in the cells of the affinity matrix up to this many tasks.
LARGEST_ANNOTATED = 12
_LARGEST_VECTOR = 24
_NAME_LIMIT = 28
# Learning curves: points drawn, and the share of the training that a point averages over.
_CURVE_POINTS = 300
SMOOTHING = 0.05

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    # The card of the page is the background, in light and dark mode.
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "pgx_jax",
    # A dollar sign in a task's name is a dollar sign.
    "text.parse_math": False,
}


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


def method_colour(position: int) -> str:
    """Colour of the method at that place in the report."""
    return METHOD_COLOURS[position % len(METHOD_COLOURS)]


def method_marker(position: int) -> str:
    """Marker of the method at that place in the report."""
    return METHOD_MARKERS[position % len(METHOD_MARKERS)]


def _style_context() -> Any:
    from matplotlib import style

    return style.context(["default", _STYLE])


def _styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
    """Draw under the page's style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> "Figure":
        with _style_context():
            return draw(*args, **kwargs)

    return styled


def data_uri(figure: "Figure") -> str:
    """The figure as an SVG data URI; equal figures give equal text."""
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _style_context():
        figure.savefig(buffer, format="svg", metadata=nothing, dpi=200, bbox_inches="tight")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def short_name(name: str, limit: int = _NAME_LIMIT) -> str:
    """A name that fits beside an axis: printable, and cut in the middle where it is long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(name))
    if len(plain) <= limit:
        return plain
    head = (limit - 1) * 2 // 3
    return f"{plain[:head]}…{plain[head + 1 - limit :]}"


@_styled
def affinity_figure(affinity: ArrayLike, labels: Sequence[int], names: Sequence[str]) -> "Figure":
    """The affinity matrix with its tasks ordered by group.

    Args:
        affinity: float[n, n]; the diagonal is not read.
        labels: int[n], groups from 0.
        names: of the n tasks.

    Returns:
        The figure.

    Raises:
        ValueError: sizes do not match.
    """
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    matrix = np.asarray(affinity, float)
    count = len(names)
    if matrix.shape != (count, count) or len(labels) != count:
        raise ValueError(
            f"affinity has shape {matrix.shape} for {len(labels)} labels and {count} names"
        )
    order = [int(task) for task in np.argsort(labels, kind="stable")]
    matrix = matrix[np.ix_(order, order)]
    off_diagonal = ~np.eye(count, dtype=bool)
    centre = float(matrix[off_diagonal].mean()) if count > 1 else 0.0
    reach = float(np.abs(matrix - centre)[off_diagonal].max()) if count > 1 else 0.0
    drawn_reach = reach if reach > 1e-9 * max(abs(centre), 1e-9) else max(abs(centre), 1.0)
    shown = np.ma.masked_array(matrix, mask=~off_diagonal)

    side = float(np.clip(1.4 + 0.42 * count, 2.8, 6.0))
    font = float(np.clip(330 / count, 4.0, 8.5))
    figure = _new_figure(_WIDTH, side + 1.3)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        np.arange(count + 1),
        np.arange(count + 1),
        shown,
        cmap="RdBu",
        norm=Normalize(centre - drawn_reach, centre + drawn_reach),
        edgecolors="white" if count <= _LARGEST_VECTOR else "none",
        linewidth=0.6 if count <= _LARGEST_VECTOR else 0.0,
        rasterized=count > _LARGEST_VECTOR,
    )
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    ticks = np.arange(count) + 0.5
    shown_names = [short_name(names[task]) for task in order]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    upright = {"rotation": 90, "va": "top", "ha": "center"}
    axes.set_xticks(ticks, shown_names, fontsize=font, **(slanted if count <= 16 else upright))
    axes.set_yticks(ticks, shown_names, fontsize=font)
    axes.tick_params(length=0, pad=3)
    for cell in range(count):
        axes.add_patch(Rectangle((cell, cell), 1, 1, facecolor="#dddddd", edgecolor="none"))
    _mark_blocks(axes, np.asarray(labels)[order], font)
    if count <= LARGEST_ANNOTATED:
        digits = int(np.clip(1 - np.floor(np.log10(max(reach, 1e-12))), 0, 3)) if reach else 2
        for row, column in np.argwhere(off_diagonal):
            value = float(matrix[row, column])
            strong = abs(value - centre) > 0.62 * drawn_reach
            axes.text(
                column + 0.5,
                row + 0.5,
                _plain(value, digits),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if strong else _INK,
            )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, aspect=24, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.axhline(centre, color=_INK, linewidth=1.0)
    bar.set_label(
        "affinity, in standard deviations of the scores\n(line and white: mean of all pairs)"
    )
    return figure


def _mark_blocks(axes: "Axes", sorted_labels: np.ndarray, font: float) -> None:
    """Frames around the groups, and their numbers at the right edge."""
    from matplotlib.patches import Rectangle

    count = len(sorted_labels)
    for group in np.unique(sorted_labels):
        members = np.flatnonzero(sorted_labels == group)
        start, size = int(members[0]), len(members)
        axes.add_patch(
            Rectangle(
                (start, start), size, size, fill=False, edgecolor=_INK, linewidth=1.6, clip_on=False
            )
        )
        several = len(np.unique(sorted_labels)) <= 20
        axes.text(
            count + 0.02 * count,
            start + size / 2,
            f"group {group + 1}" if several else f"{group + 1}",
            fontsize=min(font + 0.5, 8.5),
            va="center",
            ha="left",
            clip_on=False,
        )


@_styled
def task_score_figure(
    scores: Mapping[str, Any],
    titles: Mapping[str, str],
    names: Sequence[str],
    labels: Sequence[int],
) -> "Figure":
    """Score of every task under every method, with standard errors.

    Args:
        scores: per method, {"source": {"tasks": {name: {"mean", "standard_error"}}}}.
        titles: of the methods; their order fixes the colours.
        names: of the n tasks.
        labels: int[n], groups from 0, by which the tasks are ordered.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a task or a title, or labels do not match names.
    """
    if len(labels) != len(names):
        raise ValueError(f"{len(labels)} labels for {len(names)} task names")
    _check_titles(scores, titles)
    for method in scores:
        missing = [name for name in names if name not in scores[method]["source"]["tasks"]]
        if missing:
            raise ValueError(f"{method} has no source score for {', '.join(missing)}")
    order = [int(task) for task in np.argsort(labels, kind="stable")]
    pitch = max(0.055 * len(scores) + 0.06, 0.22) if len(names) > 20 else 0.42
    figure = _new_figure(_WIDTH, 1.1 + pitch * len(names))
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
    axes.set_xlabel("mean episode return")
    _group_margin(axes, np.asarray(labels)[order])
    _legend_above(figure, axes)
    return figure


def _group_margin(axes: "Axes", sorted_labels: np.ndarray) -> None:
    """Lines between the groups of an axis that lists tasks, and their names at the right."""
    groups = np.unique(sorted_labels)
    for group in groups:
        members = np.flatnonzero(sorted_labels == group)
        if members[0] > 0:
            axes.axhline(members[0] - 0.5, color=_INK, linewidth=0.8)
        axes.text(
            1.01,
            members.mean(),
            f"group {group + 1}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.0 if len(sorted_labels) <= 20 else 7.0,
        )


@_styled
def held_out_figure(scores: Mapping[str, Any], titles: Mapping[str, str]) -> "Figure":
    """Distribution of the held-out tasks' scores, one row per method.

    Args:
        scores: per method, {"test": {"mean", "standard_error", "tasks": [float]}}.
        titles: of the methods; their order fixes the colours.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a title, or methods differ in their number of held-out tasks.
    """
    _check_titles(scores, titles)
    sizes = {method: len(scores[method]["test"]["tasks"]) for method in scores}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"methods differ in their number of held-out tasks: {sizes}")
    figure = _new_figure(_WIDTH, 0.7 + 0.62 * len(scores))
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
            color=_INK,
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
    axes.set_xlabel("mean episode return of a held-out task")
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


def learning_curve(
    rows: Sequence[Mapping[str, Any]], num_tasks: int, offset: float = 0.0
) -> Curve | None:
    """One curve of a training, from the rows of all its groups.

    Groups train one beside the other: at a share f of the training, every group is at f of its
    own updates, and the steps spent are the sum over the groups. A task without an episode in an
    update takes the value between its neighbours, or the nearest one at either end.

    Args:
        rows: of one stage, {"group", "env_steps", "returns": {task: mean return}}.
        num_tasks: n.
        offset: environment steps spent before this training.

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
        for task in sorted({task for row in group for task in row["returns"]}):
            seen = [
                (row["env_steps"] / last, row["returns"][task])
                for row in sorted(group, key=lambda row: row["env_steps"])
                if task in row["returns"] and np.isfinite(row["returns"][task])
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


@_styled
def learning_curve_figure(
    meta: Curve | None, curves: Mapping[str, Curve], titles: Mapping[str, str]
) -> "Figure":
    """Mean training return against environment steps.

    Args:
        meta: of meta-training.
        curves: per method.
        titles: of the methods; their order fixes the colours.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a title.
    """
    _check_titles(curves, titles)
    figure = _new_figure(_WIDTH, 4.2)
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
    axes.xaxis.set_major_formatter(_short_count)
    axes.set_xlabel("environment steps" + (", all groups together" if curves else ""))
    axes.set_ylabel("mean episode return over tasks")
    _legend_above(figure, axes)
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


@_styled
def time_figure(wall_seconds: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Wall seconds of every stage, compiling told apart and reused stages marked.

    Args:
        wall_seconds: per stage, {"total", "compile", "reused"}.

    Returns:
        The figure.
    """
    from matplotlib.patches import Patch

    figure = _new_figure(_WIDTH, 0.9 + 0.27 * len(wall_seconds))
    axes = figure.add_subplot()
    longest = max((stage["total"] for stage in wall_seconds.values()), default=0.0) or 1.0
    for row, stage in enumerate(wall_seconds.values()):
        compiling = min(stage["compile"], stage["total"])
        running = stage["total"] - compiling
        look: dict[str, Any] = {"height": 0.68, "linewidth": 0}
        if stage["reused"]:
            look |= {"alpha": 0.45, "hatch": "////", "edgecolor": "white"}
        axes.barh(row, running, color=_COMPUTE, **look)
        axes.barh(row, compiling, left=running, color=_COMPILE, **look)
        text = f"{_seconds(stage['total'])} s"
        axes.text(
            stage["total"] + 0.008 * longest,
            row,
            f"{text}, reused" if stage["reused"] else text,
            va="center",
            fontsize=8.0,
        )
    axes.set_yticks(range(len(wall_seconds)), [short_name(name, 40) for name in wall_seconds])
    axes.set_ylim(len(wall_seconds) - 0.4, -0.6)
    axes.set_xlim(0, 1.13 * longest)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("seconds")
    handles = [
        Patch(color=_COMPUTE, label="running"),
        Patch(color=_COMPILE, label="tracing and compiling"),
    ]
    if any(stage["reused"] for stage in wall_seconds.values()):
        faint = Patch(facecolor=_COMPUTE, alpha=0.45, hatch="////", edgecolor="white", linewidth=0)
        faint.set_label("reused: seconds of the earlier run")
        handles.append(faint)
    _legend_above(figure, axes, handles)
    return figure


@_styled
def env_step_figure(
    env_steps: Mapping[str, Mapping[str, int]], titles: Mapping[str, str]
) -> "Figure":
    """Environment steps of every method by purpose.

    Args:
        env_steps: per method, steps by purpose and their "total".
        titles: of the methods.

    Returns:
        The figure.

    Raises:
        ValueError: a method lacks a title, or its purposes do not add up to its total.
    """
    _check_titles(env_steps, titles)
    figure = _new_figure(_WIDTH, 0.95 + 0.42 * len(env_steps))
    axes = figure.add_subplot()
    purposes = list(PURPOSE_COLOURS)
    for spent in env_steps.values():
        purposes += [name for name in spent if name not in (*purposes, "total")]
    left = np.zeros(len(env_steps))
    for place, purpose in enumerate(purposes):
        width = np.array([spent.get(purpose, 0) for spent in env_steps.values()], float)
        if not width.any():
            continue
        colour = PURPOSE_COLOURS.get(purpose, _OTHER_PURPOSES[place % len(_OTHER_PURPOSES)])
        axes.barh(
            range(len(env_steps)),
            width,
            left=left,
            height=0.62,
            color=colour,
            edgecolor=_INK,
            linewidth=0.4,
            label=PURPOSE_TITLES.get(purpose, purpose),
        )
        left += width
    totals = [spent["total"] for spent in env_steps.values()]
    for row, (method, total) in enumerate(zip(env_steps, totals, strict=True)):
        if left[row] != total:
            raise ValueError(
                f"the environment steps of {method} add up to {left[row]:,.0f}, "
                f"their total says {total:,}"
            )
        axes.text(total + 0.008 * max(totals), row, f"{total:,}", va="center", fontsize=8.0)
    axes.set_yticks(range(len(env_steps)), [titles[method] for method in env_steps])
    axes.set_ylim(len(env_steps) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(totals, default=0) or 1.0)
    axes.xaxis.set_major_formatter(_short_count)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("environment steps")
    _legend_above(figure, axes)
    return figure


@_styled
def selection_figure(errors: Mapping[int, float], chosen: int) -> "Figure":
    """Held-out error of every number of groups that was tried.

    Args:
        errors: per k.
        chosen: the k that was taken.

    Returns:
        The figure.

    Raises:
        ValueError: the chosen k is not among the candidates.
    """
    from matplotlib.ticker import MaxNLocator

    if chosen not in errors:
        raise ValueError(f"k = {chosen} is not among the candidates {sorted(errors)}")
    sizes = sorted(errors)
    figure = _new_figure(_WIDTH * 0.62, 3.2)
    axes = figure.add_subplot()
    colour = METHOD_COLOURS[0]
    axes.plot(sizes, [errors[size] for size in sizes], "o-", color=colour, markersize=5)
    axes.plot(
        [chosen], [errors[chosen]], "o", markersize=12, markerfacecolor="none", color=_INK, zorder=4
    )
    high = errors[chosen] >= (min(errors.values()) + max(errors.values())) / 2
    axes.annotate(
        f"chosen, k = {chosen}",
        (chosen, errors[chosen]),
        xytext=(9, 9) if high else (9, -16),
        textcoords="offset points",
        fontsize=8.5,
    )
    axes.set_xlim(min(sizes) - 0.5, max(sizes) + 0.9)
    axes.margins(y=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.grid(axis="y")
    axes.set_xlabel("number of groups k")
    axes.set_ylabel("held-out error (1: nothing predicted)")
    return figure


def _new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _check_titles(methods: Mapping[str, Any], titles: Mapping[str, str]) -> None:
    missing = [method for method in methods if method not in titles]
    if missing:
        raise ValueError(f"no title for {', '.join(missing)}")


def _legend_above(figure: "Figure", axes: "Axes", handles: Any = None) -> None:
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3))


def _plain(value: float, digits: int) -> str:
    """A number with a true minus sign, and never a negative nought."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", "\N{MINUS SIGN}")


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _short_count(value: float, _: Any = None) -> str:
    """500, 20k, 1.25M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"
