"""Write the tables of README.md and benchmarks/README.md from the result files.

Run: python benchmarks/tables.py [--check]
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `benchmarks` is

from benchmarks.measurements import NOT_MEASURED, load, row
from benchmarks.measurements import TABLES as MEASUREMENTS
from pgx_jax.experiments.methods import METHODS

ROOT = Path(__file__).parents[1]
Cases = dict[str, dict[str, Any]]
"""What each case of a study came to, whether its file is older than `pgx-jax reproduce` or not."""


def comparison_cases() -> Cases:
    """By environment: "summary" by split and method, and "runs"."""
    result = load("comparison")
    if result is not None:
        summaries = result["summary"]
        return {
            name: {"summary": summaries[name], "runs": result["runs"][name]} for name in summaries
        }
    found = {name: load(name.replace("-", "_")) for name in ("cartpole-planted", "cartpole")}
    return {name: one for name, one in found.items() if one is not None}


def recovery_cases() -> Cases:
    """By case: on how many seeds "exact", and "of" how many."""
    result, older = load("recovery"), load("planted_recovery")
    if result is not None or older is None:
        return {} if result is None else result["summary"]
    return {
        name: {"exact": exact, "of": older["num_seeds"]} for name, exact in older["exact"].items()
    }


def learning_cases() -> Cases:
    """By case: "metric", "warm_start", "target", "limits", "reached" and "runs"."""
    result = load("learning") or {}
    if "summary" not in result:
        return {name: {**one, "runs": one["seeds"]} for name, one in result.items()}
    return {
        name: {
            **result["summary"][name],
            "metric": runs[0]["metric"],
            "warm_start": result["config"][name]["warm_start"],
            "runs": runs,
        }
        for name, runs in result["runs"].items()
    }


def method_titles(case: dict[str, Any]) -> dict[str, str]:
    """Titles of a comparison's methods, as they stand within a line."""
    told = case["runs"][0].get("methods", {})
    return {
        name: within_line(told.get(name) or METHODS[name].title)
        for name in case["summary"]["source"]
    }


def within_line(title: str) -> str:
    """The title without its capital, unless that is part of a name."""
    first = title.split(maxsplit=1)[0]
    return title if first[1:] != first[1:].lower() else title[0].lower() + title[1:]


def interval(value: dict, digits: int = 1) -> str:
    """Mean with its confidence interval."""
    if value["low"] is None:
        return f"{value['mean']:.{digits}f}"
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def plural(seeds: int) -> str:
    """A number of seeds."""
    return f"{seeds} seed{'s' if seeds != 1 else ''}"


def comparison_table() -> str:
    """Scores per method, source and held-out tasks, per environment."""
    cases = comparison_cases()
    if not cases:
        return NOT_MEASURED
    heads = [
        f"`{name}` {split} ({plural(len(case['runs']))})"
        for name, case in cases.items()
        for split in ("source", "held-out")
    ]
    lines = [row(["method", *heads]), row(["---"] * (len(heads) + 1))]
    titles = {
        method: title for case in cases.values() for method, title in method_titles(case).items()
    }
    for method, title in titles.items():
        cells = [
            interval(case["summary"][split][method]["score"])
            if method in case["summary"][split]
            else ""
            for case in cases.values()
            for split in ("source", "test")
        ]
        lines.append(row([title, *cells]))
    return "\n".join(lines)


def recovery_table() -> str:
    """Exact recoveries of the planted groups."""
    cases = recovery_cases()
    if not cases:
        return NOT_MEASURED
    lines = [row(["number of groups", "found exactly (adjusted Rand index 1)"]), row(["---"] * 2)]
    titles = {"given": "given, k = 3", "automatic": "chosen on validation subsets"}
    for name, title in titles.items():
        if name in cases:
            lines.append(row([title, f"{cases[name]['exact']} of {plural(cases[name]['of'])}"]))
    return "\n".join(lines)


def learning_table() -> str:
    """What PPO reaches in every environment."""
    cases = learning_cases()
    if not cases:
        return NOT_MEASURED
    head = ["environment", "start", "measure", "asked", "reached", "seeds", "steps"]
    lines = [row(head), row(["---"] * len(head))]
    for name, case in cases.items():
        metric, runs = case["metric"], case["runs"]
        text = interval(case["reached"], 2 if metric == "success" else 1)
        for other in case["limits"]:
            mean = sum(one["final"]["info"][other] for one in runs) / len(runs)
            text += f", {other} {mean:.1%}"
        asked = f"{case['target']:g}" + "".join(
            f", {other} at most {limit:.0%}" for other, limit in case["limits"].items()
        )
        steps = sum(one["env_steps"] for one in runs) / len(runs)
        start = "experts" if case["warm_start"] == "experts" else "scratch"
        cells = [name, start, metric, asked, text, str(len(runs))]
        lines.append(row([*cells, f"{steps / 1e6:.2g}M"]))
    return "\n".join(lines)


def rollout_table() -> str:
    """Steps a second against the bare backend, highway-env and rejax."""
    result = load("rollout")
    if result is None:
        return NOT_MEASURED
    head = ["steps a second, 2 cores", "ours", "what it is held against", "theirs", "ratio"]
    lines = [row(head), row(["---"] * len(head))]

    def compare(what: str, ours: float, peer: str, theirs: float) -> None:
        ratio = ours / theirs
        shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}"
        cells = [what, f"{ours:,.0f}", peer, f"{theirs:,.0f}", shown]
        lines.append(row(cells))

    for name, values in result["rows"].items():
        if name == "cartpole" and "rejax" in values:
            ours, theirs = (values[who]["steps_per_second"] for who in ("pgx_jax", "rejax"))
            compare("cartpole, PPO with its updates", ours, "rejax's PPO", theirs)
        if "bare_steps_per_second" in values:
            what = f"{name}, {values['num_envs']} environments, with a policy"
            ours = values["rollout_steps_per_second"]
            bare = f"{values['backend']} alone, random actions"
            compare(what, ours, bare, values["bare_steps_per_second"])
            if "highway_env_steps_per_second" in values:
                python = values["highway_env_steps_per_second"]
                compare(what, ours, "highway-env alone, random actions", python)
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "comparison": comparison_table,
    "recovery": recovery_table,
    "learning": learning_table,
    "rollout": rollout_table,
    **MEASUREMENTS,
}


def with_tables(text: str) -> str:
    """The text with every table between its markers made anew."""

    def replace(match: re.Match) -> str:
        return f"{match[1]}\n{TABLES[match[2]]()}\n{match[4]}"

    pattern = r"(<!-- table:(\w+) -->)\n(.*?)(<!-- end -->)"
    return re.sub(pattern, replace, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file differs")
    args = parser.parse_args()
    stale = []
    for path in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        text = path.read_text()
        if with_tables(text) == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not args.check:
            path.write_text(with_tables(text))
    if args.check and stale:
        sys.exit(f"the tables of {' and '.join(stale)} are not those of results/")


if __name__ == "__main__":
    main()
