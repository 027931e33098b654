"""The groups, the affinity they come from, their number, and how near the best they are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.style import (
    INK,
    METHOD_COLOURS,
    WIDTH,
    fitted_name,
    new_figure,
    numbered_names,
    styled,
)
from pgx_jax.experiments.report.text import number, plural, setting, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Values in the cells of the affinity matrix up to this many tasks.
LARGEST_ANNOTATED = 12
_LARGEST_VECTOR = 24
# What an entry of the affinity matrix is, per reduction: for the caption, for the colour bar.
ENTRIES = {
    "additive": (
        "effect of one task on the other's score with the rest of the subset accounted for "
        "(ridge regression over the sampled subsets, mean of both directions), scores "
        "standardised per task",
        "effect on each other's score, in standard deviations",
    ),
    "completed": (
        "effect of one task on the other's score with the rest of the subset accounted for, of low "
        "rank, fitted to all scores at once, scores standardised per task",
        "effect on each other's score, in standard deviations",
    ),
    "pair": (
        "mean score of the two tasks over the sampled subsets that hold both, scores standardised "
        "per task",
        "mean score of the two tasks, in standard deviations",
    ),
    "subset": (
        "mean score of all tasks of a subset over the sampled subsets that hold both tasks, "
        "scores standardised per task",
        "mean score of the whole subset, in standard deviations",
    ),
}


def _groups(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """The tasks of every group."""
    labels, known = report["labels"], report["known_groups"]
    numbered = numbered_names(report["task_names"])
    groups = []
    for group in range(report["num_groups"]):
        members = [task for task, label in enumerate(labels) if label == group]
        found = [] if known is None else [known[task] for task in members]
        counts = ", ".join(f"{one + 1} ({found.count(one)})" for one in sorted(set(found)))
        groups.append(
            {
                "number": group + 1,
                "tasks": [numbered[task] for task in members],
                "known": None if known is None else counts,
            }
        )
    head = ["Group", "Size", "Tasks"] + ([] if known is None else ["Known groups of its tasks"])
    caption = "" if known is None else "Known groups: their number, and how many tasks of each."
    return {"head": head, "groups": groups, "caption": caption}


def _affinity(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """The affinity matrix, and what its entries are."""
    count = report["num_tasks"]
    # Reports from before there was a choice hold means over pairs.
    rule = setting(report, "affinity", "pair")
    entry, unit = ENTRIES.get(rule, (f'affinity by the rule "{rule}"', "affinity"))
    caption = (
        "Row and column: tasks, ordered by group; black frames are the groups. Columns carry the "
        "tasks' numbers; full names are under Groups. "
        f"Entry: {entry}. Blue pairs do better together than the mean pair, red ones worse. "
        "The diagonal is left out."
    )
    if count > LARGEST_ANNOTATED:
        caption += f" Values are not written for more than {LARGEST_ANNOTATED} tasks."
    figure = figures.add(
        affinity_figure(report["affinity"], report["labels"], report["task_names"], unit),
        "Task affinity",
        caption,
        f"Affinity matrix of {count} tasks, ordered by group.",
    )
    return {"figures": [figure]}


def _selection(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """How the number of groups was chosen."""
    # JSON turns the candidates into strings.
    errors = {int(size): float(error) for size, error in report["selection"].items()}
    figure = figures.add(
        selection_figure(errors, report["num_groups"]),
        "Choosing the number of groups",
        "Mean squared error of predicting scores of validation subsets from k groups, in units of "
        "their variance. The smallest k within one standard error of the least error is taken, or "
        "a smaller one from which further groups gain next to nothing.",
        "Validation error for "
        + ", ".join(f"k = {size}: {error:.3f}" for size, error in sorted(errors.items()))
        + ".",
    )
    return {"figures": [figure]}


def _certificate(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """How far from the best partition this one can be, and whether the fits converged."""
    fits, count = report["fits"], report["num_subsets"]
    gap, groups = report["certified_gap"], report["num_groups"]
    failed = count - fits["converged"]
    if groups in (1, report["num_tasks"]):
        lead = f"There is only one partition into {plural(groups, 'group')}."
    else:
        lead = (
            f"No partition into {plural(groups, 'group')} has an objective larger by more than "
            f"{significant(gap)}. The bound holds whatever the solver's status."
        )
    return {
        "lead": lead,
        "warning": f"{plural(failed, 'fit')} of {count:,} did not converge." if failed else "",
        "rows": [
            ("Objective", significant(report["objective"], 6)),
            ("Upper bound", significant(report["upper_bound"], 6)),
            ("Certified gap", significant(gap)),
            ("Solver status", report["solver_status"]),
            ("Subset fits converged", f"{fits['converged']:,} of {count:,}"),
            ("Steps of the fits", f"{fits['steps']:,}"),
            ("Largest gradient norm of a fit", significant(fits["largest_grad_norm"])),
        ],
        "caption": "Objective: sum over groups of the summed affinities within a group, divided by "
        "its size; the diagonal counts as the mean pair. Gap and bound are in the same units.",
    }


GROUPS = Section("Groups", _groups, "groups.html.jinja")
AFFINITY = Section("Affinity", _affinity, "figures.html.jinja")
SELECTION = Section(
    "Number of groups",
    _selection,
    "figures.html.jinja",
    lambda report: report["selection"] is not None,
)
CERTIFICATE = Section("Certificate", _certificate, "certificate.html.jinja")


@styled
def affinity_figure(
    affinity: ArrayLike, labels: Sequence[int], names: Sequence[str], unit: str = "affinity"
) -> "Figure":
    """The affinity matrix with its tasks ordered by group.

    Args:
        affinity: float[n, n]; the diagonal is not read.
        labels: int[n], groups from 0.
        names: of the n tasks.
        unit: what the values are, for the colour bar.

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
    figure = new_figure(WIDTH, side + 1.3)
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
    # Two lines of text fit into a row of the matrix where there are few.
    numbered = numbered_names(names)
    wrap = (34, 2) if count <= 16 else (44, 1)
    axes.set_xticks(ticks, [str(task + 1) for task in order], fontsize=font)
    axes.set_yticks(ticks, [fitted_name(numbered[task], *wrap) for task in order], fontsize=font)
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
                number(value, digits),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if strong else INK,
            )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, aspect=24, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.axhline(centre, color=INK, linewidth=1.0)
    bar.set_label(f"{unit}\n(line and white: mean of all pairs)")
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
                (start, start), size, size, fill=False, edgecolor=INK, linewidth=1.6, clip_on=False
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


@styled
def selection_figure(errors: Mapping[int, float], chosen: int) -> "Figure":
    """Held-out error of every number of groups that was tried.

    Args:
        errors: per k.
        chosen: the k that was taken.

    Raises:
        ValueError: the chosen k is not among the candidates.
    """
    from matplotlib.ticker import MaxNLocator

    if chosen not in errors:
        raise ValueError(f"k = {chosen} is not among the candidates {sorted(errors)}")
    sizes = sorted(errors)
    figure = new_figure(WIDTH * 0.62, 3.2)
    axes = figure.add_subplot()
    colour = METHOD_COLOURS[0]
    axes.plot(sizes, [errors[size] for size in sizes], "o-", color=colour, markersize=5)
    axes.plot(
        [chosen], [errors[chosen]], "o", markersize=12, markerfacecolor="none", color=INK, zorder=4
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
    axes.set_ylabel("validation error (1: nothing predicted)")
    return figure
