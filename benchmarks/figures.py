"""Draw README's picture from a result file.

Run: python benchmarks/figures.py
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tables import TITLES

RESULTS = Path(__file__).parent / "results"
COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9")


def draw(result: dict) -> Figure:
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

    methods = list(TITLES)
    for row, (method, colour) in enumerate(zip(methods, COLOURS, strict=True)):
        score = result["summary"]["source"][method]["score"]
        values = [run["scores"][method]["source"]["mean"] for run in result["runs"]]
        right.barh(row, score["mean"], color=colour, alpha=0.35)
        if score["low"] is not None:
            right.plot([score["low"], score["high"]], [row, row], color="black", linewidth=2)
        spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        right.plot(values, row + spread, "o", color=colour, markersize=5)
    right.set_yticks(range(len(methods)), [TITLES[method] for method in methods])
    right.invert_yaxis()
    right.set_xlabel(
        f"mean return over {len(labels)} source tasks; dots: seeds ({result['num_seeds']}), "
        "line: 95 % interval over seeds",
        fontsize=9,
    )
    right.set_title("Score at equal total environment steps", fontsize=10)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    result = json.loads((RESULTS / "cartpole_planted.json").read_text())
    path = RESULTS / "planted.png"
    draw(result).savefig(path, metadata={"Software": None})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
