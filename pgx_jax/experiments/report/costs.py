"""Costs: wall seconds of the stages, environment steps of the methods."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.style import (
    INK,
    WIDTH,
    check_titles,
    fitted_name,
    legend_above,
    new_figure,
    styled,
)
from pgx_jax.experiments.report.text import number, short_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tol's light scheme: purposes of environment steps must not look like methods.
PURPOSE_COLOURS = {
    "meta": "#BBBBBB",
    "transitions": "#EEDD88",
    "scores": "#EE8866",
    "training": "#77AADD",
}
PURPOSE_TITLES = {
    "meta": "meta-training",
    "transitions": "transitions for features",
    "scores": "rollout scores",
    "training": "training the method's policies",
}
_OTHER_PURPOSES = ("#FFAABB", "#99DDFF", "#44BB99", "#AAAA00")
_COMPUTE, _COMPILE = "#66717F", "#CCBB44"


def step_titles(report: Report) -> Mapping[str, str]:
    """Titles of whatever spent environment steps: of the methods, where some were compared."""
    return report.get("methods") or dict.fromkeys(report["env_steps"], "Finding the groups")


def _costs(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """Where the time went, and the environment steps of every method."""
    seconds = report["wall_seconds"]
    total = sum(stage["total"] for stage in seconds.values())
    compiling = sum(stage["compile"] for stage in seconds.values())
    fresh = sum(stage["total"] for stage in seconds.values() if not stage["reused"])
    caption = (
        f"Wall time by stage: {number(total, 1)} s in all, {number(compiling, 1)} s of it "
        "tracing and compiling."
    )
    if all(stage["reused"] for stage in seconds.values()):
        caption += " All stages were reused; the seconds are those of the earlier run."
    elif any(stage["reused"] for stage in seconds.values()):
        caption += (
            " Hatched stages were reused and show the seconds of the earlier run; the others "
            f"took {number(fresh, 1)} s."
        )
    steps_caption = "All that a method needs is counted, meta-training included."
    if report["scores"]:
        steps_caption += (
            " Methods have equal budgets, to within one PPO update a policy. Choosing policies "
            "for held-out tasks comes on top, for methods that have several."
        )
    titles = step_titles(report)
    time = figures.add(
        time_figure(seconds),
        "Where the time went",
        caption,
        "Bars: seconds of every stage. "
        + ", ".join(f"{name}: {stage['total']:.1f}" for name, stage in seconds.items())
        + ".",
    )
    steps = figures.add(
        env_step_figure(report["env_steps"], titles),
        "Environment steps by purpose",
        steps_caption,
        "Stacked bars: environment steps. "
        + ", ".join(
            f"{titles[name]}: {spent['total']:,}" for name, spent in report["env_steps"].items()
        )
        + ".",
    )
    return {"figures": [time, steps]}


COSTS = Section("Costs", _costs, "figures.html.jinja")


@styled
def time_figure(wall_seconds: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Wall seconds of every stage, compiling told apart and reused stages marked.

    Args:
        wall_seconds: per stage, {"total", "compile", "reused"}.
    """
    from matplotlib.patches import Patch

    figure = new_figure(WIDTH, 0.9 + 0.27 * len(wall_seconds))
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
    axes.set_yticks(range(len(wall_seconds)), [fitted_name(name, 40, 1) for name in wall_seconds])
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
    legend_above(figure, axes, handles)
    return figure


@styled
def env_step_figure(
    env_steps: Mapping[str, Mapping[str, int]], titles: Mapping[str, str]
) -> "Figure":
    """Environment steps of every method by purpose.

    Args:
        env_steps: per method, steps by purpose and their "total".
        titles: of the methods.

    Raises:
        ValueError: a method lacks a title, or its purposes do not add up to its total.
    """
    check_titles(env_steps, titles)
    figure = new_figure(WIDTH, 0.95 + 0.42 * len(env_steps))
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
            edgecolor=INK,
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
    axes.xaxis.set_major_formatter(short_count)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("environment steps")
    legend_above(figure, axes)
    return figure


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
