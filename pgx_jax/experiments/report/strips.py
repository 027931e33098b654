"""Frame strips of the trained policies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.style import WIDTH, new_figure

# Pixels across a whole strip, to which frames are thinned, and the shape that it should have.
_PIXELS = 1600
_ASPECT = 3.0


def _strips(report: Report, rows: Sequence[Report], figures: Figures) -> dict[str, Any]:
    """One figure a group; each strip has ``group``, ``task`` and ``frames``."""
    return {
        "figures": [
            figures.add(
                strip_figure(strip.frames),
                f"Group {strip.group + 1} in task {strip.task}",
                f"{len(strip.frames)} frames of one episode in reading order, evenly spaced from "
                "first step to last. The most probable action at every step.",
                f"{len(strip.frames)} frames of an episode in task {strip.task}.",
            )
            for strip in report["strips"]
        ]
    }


STRIPS = Section(
    "The trained policies at work",
    _strips,
    "figures.html.jinja",
    lambda report: bool(report["strips"]),
)


def strip_figure(frames: np.ndarray) -> Any:
    """uint8[frames, height, width, 3] in reading order, in as many rows as suits their shape."""
    count, height, width = frames.shape[:3]
    columns = min(
        (number for number in range(1, count + 1) if count % number == 0),
        key=lambda number: abs(np.log(number**2 * width / (count * height) / _ASPECT)),
    )
    step = max(1, columns * width // _PIXELS)
    thin = frames[:, ::step, ::step]
    gap = max(2, thin.shape[2] // 50)
    framed = np.pad(thin, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(row), axis=1) for row in np.split(framed, count // columns)]
    image = np.concatenate(rows)[:-gap, :-gap]
    figure = new_figure(WIDTH, WIDTH * image.shape[0] / image.shape[1])
    axes = figure.add_subplot()
    axes.imshow(image, interpolation="lanczos")
    axes.set_axis_off()
    return figure
