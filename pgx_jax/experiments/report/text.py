"""Values of a report as text."""

from collections.abc import Iterable, Mapping
from typing import Any

_MINUS = "\N{MINUS SIGN}"


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Settings with those of nested ones, named as in "estimation.l2"."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            # The same text whether the value comes from Python or from JSON.
            plain = list(value) if isinstance(value, tuple) else value
            yield prefix + name, "not given" if plain is None else plain


def setting(report: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A setting of a report by its own name, wherever its configuration holds it."""
    for path, value in flat_settings(report["config"]):
        if path.rpartition(".")[2] == name:
            return value
    return default


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


def plain(value: Any) -> str:
    """A number or a text, for a table."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not given"}[value]
    if isinstance(value, int):
        return number(value, 0)
    return significant(value, 4) if isinstance(value, float) else str(value)
