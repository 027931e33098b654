"""Pieces of the page as HTML, and numbers as text."""

import html
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from pgx_jax.experiments.report import style

_MINUS = "\N{MINUS SIGN}"


class Figures:
    """Numbers the figures of a page."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, figure: Any, title: str, caption: str, alternative: str) -> str:
        """The figure as HTML; ``caption`` is text, not HTML."""
        self.count += 1
        return (
            f'<figure id="figure-{self.count}">\n<div class="card"><img '
            f'alt="{escape(alternative)}" src="{style.data_uri(figure)}"></div>\n'
            f"<figcaption><b>Figure {self.count}. {escape(title)}.</b> {escape(caption)}"
            "</figcaption>\n</figure>"
        )


def html_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    numbers: Set[int] = frozenset(),
    wide: bool = False,
) -> str:
    """A table from cells that are HTML already; head and caption are text."""
    cells = "".join(
        f'<th scope="col" class="number">{escape(name)}</th>'
        if column in numbers
        else f'<th scope="col">{escape(name)}</th>'
        for column, name in enumerate(head)
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    below = f'\n<p class="soft below">{escape(caption)}</p>' if caption else ""
    kind = ' class="wide"' if wide else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>{below}"
    )


def td(value: Any, *, number: bool = True) -> str:
    """A cell of plain text."""
    return f'<td class="number">{escape(value)}</td>' if number else f"<td>{escape(value)}</td>"


def th(value: Any) -> str:
    """A cell of plain text that names its row."""
    return f'<th scope="row">{escape(value)}</th>'


def escape(value: Any) -> str:
    """Text as HTML."""
    return html.escape(str(value))


def metric_noun(report: Mapping[str, Any]) -> str:
    """What the scores of a report are."""
    metric = report["metric"]
    return "episode return" if metric == "return" else f"{metric} rate"


def metric_digits(report: Mapping[str, Any]) -> int:
    """Digits after the point that the scores of a report are shown with."""
    return 1 if report["metric"] == "return" else 3


def plural(count: int, noun: str) -> str:
    """A count and its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def number(value: float, digits: int) -> str:
    """Fixed digits, a true minus sign, and no negative nought."""
    text = f"{value:,.{digits}f}"
    bare = text.removeprefix("-")
    return text if text == bare else _MINUS * bool(bare.strip("0.,")) + bare


def significant(value: float, digits: int = 3) -> str:
    """Significant digits and a true minus sign."""
    text = f"{value:.{digits}g}"
    return _MINUS + text.removeprefix("-") if text.startswith("-") else text


def short_count(value: float, _: Any = None) -> str:
    """500, 20k, 1.25M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"
