"""Look of the figures, and what all of them share.

matplotlib is imported where it is used. Its object-oriented interface leaves no global state,
and equal inputs give equal bytes.
"""

import base64
import io
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

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
INK = "#222222"
WIDTH = 9.0

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": INK,
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


def method_colour(position: int) -> str:
    """Colour of the method at that place in the report."""
    return METHOD_COLOURS[position % len(METHOD_COLOURS)]


def method_marker(position: int) -> str:
    """Marker of the method at that place in the report.

    Where the colours start again the markers are shifted, so that 64 methods look different.
    """
    shift = position // len(METHOD_COLOURS)
    return METHOD_MARKERS[(position + shift) % len(METHOD_MARKERS)]


def _style_context() -> Any:
    from matplotlib import style

    return style.context(["default", _STYLE])


def styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
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


def fitted_name(name: str, width: int = 34, lines: int = 2) -> str:
    """A name that fits beside an axis: printable, wrapped, and cut at its end where it is long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(name))
    wrapped = textwrap.wrap(plain, width, break_on_hyphens=False) or [" "]
    if len(wrapped) > lines:
        rest = " ".join(wrapped[lines - 1 :])
        wrapped = [*wrapped[: lines - 1], rest[: width - 1].rstrip() + "…"]
    return "\n".join(wrapped)


def numbered_names(names: Iterable[str]) -> list[str]:
    """Names that start with their place from 1, as in "3: gravity=5"; those that do stay."""
    return [
        name if str(name).startswith(f"{place}:") else f"{place}: {name}"
        for place, name in enumerate(names, 1)
    ]


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def check_titles(methods: Iterable[str], titles: Mapping[str, str]) -> None:
    """Raise ValueError where a method lacks a title."""
    missing = [method for method in methods if method not in titles]
    if missing:
        raise ValueError(f"no title for {', '.join(missing)}")


def legend_above(figure: "Figure", axes: "Axes", handles: Any = None) -> None:
    """A legend over the axes; of all that has a label where no handles are given."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3))
