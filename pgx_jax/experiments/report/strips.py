"""Frame strips of the trained policies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgx_jax.experiments.report.markup import Figures
from pgx_jax.experiments.report.style import WIDTH, new_figure

# Pixels of a whole strip; frames are thinned to fit.
_PIXELS = 1600


def strip_section(strips: Sequence[Any], figures: Figures) -> str:
    """One figure a group; each strip has ``group``, ``task`` and ``frames``."""
    if not strips:
        return ""
    parts = ['<section id="strips">\n<h2>The trained policies at work</h2>']
    for strip in strips:
        count = len(strip.frames)
        parts.append(
            figures.add(
                strip_figure(strip.frames),
                f"Group {strip.group + 1} in task {strip.task}",
                f"{count} frames of one episode, evenly spaced from its first step (left) to its "
                "last. The most probable action at every step.",
                f"{count} frames of an episode in task {strip.task}.",
            )
        )
    return "\n".join([*parts, "</section>"])


def strip_figure(frames: np.ndarray) -> Any:
    """uint8[frames, height, width, 3] side by side."""
    count, _, width = frames.shape[:3]
    step = max(1, count * width // _PIXELS)
    thin = frames[:, ::step, ::step]
    gap = np.full((count, thin.shape[1], max(2, thin.shape[2] // 50), 3), 255, np.uint8)
    row = np.concatenate(list(np.concatenate([thin, gap], axis=2)), axis=1)
    figure = new_figure(WIDTH, WIDTH * row.shape[0] / row.shape[1])
    axes = figure.add_subplot()
    axes.imshow(row, interpolation="lanczos")
    axes.set_axis_off()
    return figure
