"""Draw README's pictures from the result files.

Run: python benchmarks/figures.py
"""

import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `benchmarks` is

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measurements import RESULTS, load, seconds
from benchmarks.tables import comparison_cases, method_titles

COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9")


def draw_planted(result: dict) -> Figure:
    """Affinity of the first seed ordered by group, and scores of all methods over seeds."""
    figure = Figure(figsize=(11, 4.3), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    run = result["runs"][0]
    labels = np.array(run["labels"])
    order = np.argsort(labels, kind="stable")
    affinity = np.array(run["affinity"])[np.ix_(order, order)]
    off = ~np.eye(len(labels), dtype=bool)
    centre = affinity[off].mean()
    shown = np.where(off, affinity - centre, np.nan)
    limit = np.nanmax(np.abs(shown))
    image = left.imshow(shown, cmap="RdBu", vmin=-limit, vmax=limit)
    names = [run["task_names"][task] for task in order]
    left.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    left.set_yticks(range(len(names)), names, fontsize=8)
    for edge in np.flatnonzero(np.diff(labels[order])) + 0.5:
        left.axhline(edge, color="black", linewidth=1)
        left.axvline(edge, color="black", linewidth=1)
    left.set_title("Estimated task affinity, ordered by the groups found", fontsize=10)
    figure.colorbar(image, ax=left, shrink=0.8, label="affinity minus its mean")

    titles = method_titles(result)
    for row, (method, colour) in enumerate(zip(titles, itertools.cycle(COLOURS), strict=False)):
        score = result["summary"]["source"][method]["score"]
        values = [run["scores"][method]["source"]["mean"] for run in result["runs"]]
        right.barh(row, score["mean"], color=colour, alpha=0.35)
        if score["low"] is not None:
            right.plot([score["low"], score["high"]], [row, row], color="black", linewidth=2)
        spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        right.plot(values, row + spread, "o", color=colour, markersize=5)
    right.set_yticks(range(len(titles)), list(titles.values()))
    right.invert_yaxis()
    right.set_xlabel(
        f"mean return over {len(labels)} source tasks; dots: seeds ({len(result['runs'])}), "
        "line: 95 % interval over seeds",
        fontsize=9,
    )
    right.set_title("Score at equal total environment steps", fontsize=10)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def draw_speed(features: dict, scaling: dict) -> Figure:
    """Seconds of the features by method, and seconds and memory against the number of tasks."""
    figure = Figure(figsize=(11, 3.9), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.0))
    rows = sorted(features["rows"].items(), key=lambda item: item[1]["seconds"])
    for place, (name, values) in enumerate(rows):
        ours = name.startswith("pgx_jax")
        colour = COLOURS[0] if ours else "#777777"
        left.axhline(place, color="#dddddd", linewidth=1, zorder=0)
        left.plot(values["seconds"], place, "o", color=colour, markersize=8)
        mark = " (extrapolated)" if "measured_on" in values else ""
        left.annotate(
            f"{seconds(values['seconds'])} s{mark}",
            (values["seconds"], place),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    names = [name.replace(", ", ",\n", 1).replace(" on ", "\non ") for name, _ in rows]
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.set_xscale("log")
    fastest, slowest = rows[0][1]["seconds"], rows[-1][1]["seconds"]
    left.set_xlim(fastest / 3, slowest * 6)
    left.set_ylim(len(rows) - 0.5, -0.6)
    left.set_xlabel("seconds (log scale)", fontsize=9)
    size = features["size"]
    total = int(size["num_tasks"]) * int(size["num_steps"])
    title = f"Features of {total:,} transitions, p = {size['num_params']:,}, d = {size['dim']}"
    left.set_title(title, fontsize=10)

    sizes = {int(num_tasks): values for num_tasks, values in scaling["sizes"].items()}
    spent = {
        "features to groups": lambda one: one["seconds_features_to_labels"],
        "of it, fits": lambda one: one["stages"]["fits"]["seconds"],
        "of it, clustering": lambda one: one["stages"]["clustering"]["seconds"],
    }
    for (name, value), colour, marker in zip(spent.items(), COLOURS, "os^", strict=False):
        values = [value(one) for one in sizes.values()]
        right.plot(list(sizes), values, marker=marker, color=colour, label=name)
    ticks = []
    for num_tasks, one in sizes.items():
        peak = max(stage["peak_mib"] for stage in one["stages"].values()) / 1024
        ticks.append(f"{num_tasks}\nm = {one['num_subsets']:,}\n{peak:.1f} GiB")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(top=max(one["seconds_features_to_labels"] for one in sizes.values()) * 5)
    right.set_xticks(list(sizes), ticks, fontsize=8)
    right.minorticks_off()
    right.set_xlabel("tasks n, subsets m, peak memory", fontsize=9)
    right.set_ylabel("seconds, everything compiled", fontsize=9)
    right.set_title("From features to groups", fontsize=10)
    right.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    features, scaling = load("features"), load("scaling")
    assert features is not None
    assert scaling is not None
    figures = {
        "planted": draw_planted(comparison_cases()["cartpole-planted"]),
        "speed": draw_speed(features, scaling),
    }
    for name, figure in figures.items():
        path = RESULTS / f"{name}.png"
        figure.savefig(path, metadata={"Software": None})
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
