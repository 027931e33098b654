"""Write the tables of README.md and benchmarks/README.md from the result files.

Run: python benchmarks/tables.py [--check]
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from measurements import TABLES as MEASUREMENTS
from measurements import load, row

ROOT = Path(__file__).parent.parent
TITLES = {
    "policygradex": "PolicyGradEx groups",
    "single_policy": "one policy for all tasks",
    "parameter_matched_policy": "one policy, k times the parameters",
    "random_grouping": "random groups",
    "gradient_similarity_grouping": "gradient-similarity groups",
}


def interval(value: dict) -> str:
    """Mean with its confidence interval."""
    if value["low"] is None:
        return f"{value['mean']:.1f}"
    return f"{value['mean']:.1f} [{value['low']:.1f}, {value['high']:.1f}]"


def plural(seeds: int) -> str:
    """A number of seeds."""
    return f"{seeds} seed{'s' if seeds != 1 else ''}"


def comparison_table() -> str:
    """Scores per method, source and held-out tasks, per environment."""
    found = {name: load(name) for name in ("cartpole_planted", "cartpole")}
    results = {name: result for name, result in found.items() if result is not None}
    heads = [
        f"`{result['config']['environment']}` {split} ({plural(result['num_seeds'])})"
        for result in results.values()
        for split in ("source", "held-out")
    ]
    lines = [row(["method", *heads]), row(["---"] * (len(heads) + 1))]
    for method, title in TITLES.items():
        cells = [
            interval(result["summary"][split][method]["score"])
            for result in results.values()
            for split in ("source", "test")
        ]
        lines.append(row([title, *cells]))
    return "\n".join(lines)


def recovery_table() -> str:
    """Exact recoveries of the planted groups."""
    result = load("planted_recovery")
    if result is None:
        return "Not measured."
    lines = [row(["number of groups", "found exactly (adjusted Rand index 1)"]), row(["---"] * 2)]
    for name, title in (("given", "given, k = 3"), ("automatic", "chosen on held-out subsets")):
        lines.append(row([title, f"{result['exact'][name]} of {result['num_seeds']} seeds"]))
    return "\n".join(lines)


def learning_table() -> str:
    """What PPO reaches in every environment."""
    result = load("learning")
    if result is None:
        return "Not measured."
    head = ["environment", "start", "measure", "asked", "reached", "seeds", "steps"]
    lines = [row(head), row(["---"] * len(head))]
    for name, case in result.items():
        metric, seeds = case["metric"], case["seeds"]
        digits = 2 if metric == "success" else 1
        reached = case["reached"]
        text = f"{reached['mean']:.{digits}f}"
        if reached["low"] is not None:
            text += f" [{reached['low']:.{digits}f}, {reached['high']:.{digits}f}]"
        for other in case["limits"]:
            mean = sum(one["final"]["info"][other] for one in seeds) / len(seeds)
            text += f", {other} {mean:.1%}"
        asked = f"{case['target']:g}" + "".join(
            f", {other} at most {limit:.0%}" for other, limit in case["limits"].items()
        )
        steps = sum(one["env_steps"] for one in seeds) / len(seeds)
        start = "experts" if case["warm_start"] == "experts" else "scratch"
        cells = [name, start, metric, asked, text, str(len(seeds))]
        lines.append(row([*cells, f"{steps / 1e6:.2g}M"]))
    return "\n".join(lines)


def rollout_table() -> str:
    """Steps a second against the bare backend, highway-env and rejax."""
    result = load("rollout")
    if result is None:
        return "Not measured."
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
