"""What a section of the page is, and the figures in it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pgx_jax.experiments.report import style

Report = Mapping[str, Any]


class Figure(NamedTuple):
    """A figure as the templates take it; ``source`` is a data URI, the rest is text."""

    number: int
    title: str
    caption: str
    alternative: str
    source: str


class Figures:
    """Numbers the figures of a page."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, figure: Any, title: str, caption: str, alternative: str) -> Figure:
        """The next figure of the page, from one of matplotlib."""
        self.count += 1
        return Figure(self.count, title, caption, alternative, style.data_uri(figure))


class Section(NamedTuple):
    """A part of the page under a heading of its own.

    Attributes:
        title: the heading, as text.
        context: from the report, the rows of ``metrics.jsonl`` and the figures so far, the values
            that the template names.
        template: jinja2 source of what stands under the heading; the name of a file of this
            package's ``templates``, which ends in ".jinja"; or the path of another file. It can
            import from "macros.html.jinja".
        applies: whether a report has what the section shows.
    """

    title: str
    context: Callable[[Report, Sequence[Report], Figures], Mapping[str, Any]]
    template: str | Path
    applies: Callable[[Report], bool] = lambda report: True
