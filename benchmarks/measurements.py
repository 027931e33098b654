"""Tables of speed, memory and accuracy, each from one result file. Written by tables.py."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
NOT_MEASURED = "Not measured."


def load(name: str) -> dict | None:
    """A result file, or None where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def row(cells: list[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A whole Markdown table."""
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def seconds(value: float) -> str:
    """Seconds with two or three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.{1 if value >= 1 else 2}f}x"


def percent(value: float) -> str:
    """A percentage, as small as it is."""
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2f} %" if value >= 0.01 else "< 0.01 %"


def interval(value: dict, digits: int = 3) -> str:
    """Mean with its confidence interval, or alone where there is one seed."""
    text = f"{value['mean']:.{digits}f}"
    if value["low"] is None or value["low"] == value["high"]:
        return text
    return f"{text} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def features_table() -> str:
    """Seconds of the features by projection and by peer."""
    result = load("features")
    if result is None:
        return NOT_MEASURED
    size = result["size"]
    total = int(size["num_tasks"]) * int(size["num_steps"])
    head = f"{total:,} gradients, p = {size['num_params']:,}, d = {size['dim']}, "
    rows = []
    for name, values in result["rows"].items():
        part = values.get("measured_on")
        known = "matrix_product_gflops" in values
        share = values["matrix_product_gflops"] / result["gemm_gflops"] if known else 0
        rows.append(
            [
                name + (f" (from {part})" if part and part != total else ""),
                seconds(values["seconds"]),
                times(values["ratio"]),
                f"{share:.0%}" if known else "",
                f"{values['rms_inner_product_error']:.1%}" if known else "",
            ]
        )
    columns = ["seconds", "against the sketch", "of the rate of a matrix product"]
    columns.append("rms error of an inner product")
    return table([head + cores(result), *columns], rows)


def fits_table() -> str:
    """Seconds and ratios of the subset fits."""
    result = load("subset_fits")
    if result is None:
        return NOT_MEASURED
    size = result["size"]
    head = (
        f"{size['num_subsets']} fits, n = {size['num_tasks']}, T = {size['num_steps']}, "
        f"d = {size['dim']}, {cores(result)}"
    )
    rows = [
        [
            name,
            f"{values['seconds']:.2f}",
            f"{values['ratio']:.1f}x",
            f"{values['largest_relative_gap']:.0e}",
        ]
        for name, values in result["rows"].items()
    ]
    return table([head, "seconds", "against ours", "largest relative gap in objective"], rows)


def scaling_table() -> str:
    """Cost and quality from features to groups against the number of tasks."""
    result = load("scaling")
    if result is None:
        return NOT_MEASURED
    head = ["tasks n", "subsets m", "T", "d", f"seconds, {cores(result)}", "the first time"]
    head += ["peak GiB", "adjusted Rand index", "certified gap", "automatic k"]
    rows = []
    for num_tasks, values in result["sizes"].items():
        peak = max(stage["peak_mib"] for stage in values["stages"].values())
        rows.append(
            [
                num_tasks,
                f"{values['num_subsets']:,}",
                str(values["num_steps"]),
                str(values["dim"]),
                seconds(values["seconds_features_to_labels"]),
                seconds(values["first_seconds_features_to_labels"]),
                f"{peak / 1024:.1f}",
                f"{values['adjusted_rand_index']:.2f}",
                percent(values["gap_percent"]),
                f"{values['automatic_k']} of {values['num_groups']}",
            ]
        )
    return table(head, rows)


def estimation_table() -> str:
    """Seconds of the whole of stage 2 against the released code's way."""
    result = load("estimation")
    if result is None:
        return NOT_MEASURED
    size = result["size"]
    ours = [name for name, values in result["rows"].items() if "ratio" in values]
    head = [
        f"n = {size['num_tasks']}, T = {size['num_steps']}, p = {size['num_params']:,}, "
        f"d = {size['dim']}, m = {size['num_subsets']}, {cores(result)}"
    ]
    head += ["features, s", "fits, s", "the rest, s", "all, s"]
    head += [f"against {name.removeprefix('pgx_jax, ')}" for name in ours]
    head += ["peak GiB", "adjusted Rand index, small"]
    rows = []
    for name, values in result["rows"].items():
        spent = {
            stage: one["seconds"] if isinstance(one, dict) else one
            for stage, one in values["stages"].items()
        }
        features = spent.pop("features") + spent.pop("matrix", 0)
        fits = spent.pop("fits")
        peak = values.get("peak_mib", values.get("peak_mib_of_features")) / 1024
        small = result["together"][name]["adjusted_rand_index"]
        rows.append(
            [
                name + (" (extrapolated)" if values.get("extrapolated") else ""),
                *map(seconds, (features, fits, sum(spent.values()), values["seconds"])),
                *(times(values["seconds"] / result["rows"][one]["seconds"]) for one in ours),
                f"{peak:.1f}",
                f"{small:.2f}",
            ]
        )
    return table(head, rows)


def large_policy_table() -> str:
    """Seconds and memory of the features of a large policy."""
    result = load("large_policy")
    if result is None:
        return NOT_MEASURED
    head = ["projection", "parameters", "transitions", f"seconds, {cores(result)}", "peak GiB"]
    rows = [
        [
            name,
            f"{values['num_params']:,}",
            f"{values['num_transitions']:,}",
            seconds(values["seconds"]),
            f"{values['peak_gib']:.2f}",
        ]
        for name, values in result["rows"].items()
    ]
    return table(head, rows)


def projection_error_table() -> str:
    """Agreement of each projection with fits on whole gradients."""
    result = load("projection_error")
    if result is None:
        return NOT_MEASURED
    head = ["projection", "scores", "rank correlation of scores", "correlation of affinities"]
    head.append("adjusted Rand index of groups")
    measures = ("score_rank_correlation", "affinity_correlation", "groups_ari")
    rows = [
        [name, kind, *(interval(values[measure]) for measure in measures)]
        for name, kinds in result["rows"].items()
        for kind, values in kinds.items()
    ]
    return table(head, rows)


def designs_table() -> str:
    """Pairs that share a subset, and seeds whose groups are found, against m."""
    result = load("designs")
    if result is None:
        return NOT_MEASURED
    found: dict[tuple[str, int], dict[tuple[str, str], dict[str, Any]]] = {}
    for one in result["rows"]:
        at = found.setdefault((one["truth"], one["num_subsets"]), {})
        at[one["design"], one["estimator"]] = one
    ways = [(design, how) for design in ("random", "balanced") for how in ("pair", "completed")]
    first = result["rows"][0]
    head = [
        f"n = {first['num_tasks']} in {first['num_groups']} groups, "
        f"{result['num_seeds']} seeds, subsets of {first['subset_size']}"
    ]
    head += ["subsets m", "pairs in a subset: random", "balanced"]
    head += [f"groups found: {design}, {how}" for design, how in ways]
    rows = []
    for (truth, count), at in sorted(found.items()):
        num_tasks = at[ways[0]]["num_tasks"]
        pairs = num_tasks * (num_tasks - 1) / 2
        covered = [
            1 - at[design, "pair"]["uncovered_pairs"] / pairs for design in ("random", "balanced")
        ]
        groups = [f"{at[way]['exact']:.0%}" for way in ways]
        rows.append([truth, str(count), *(f"{share:.0%}" for share in covered), *groups])
    return table(head, rows)


def clustering_table() -> str:
    """Seconds, gap and recovery of cluster_tasks, and the objective of spectral clustering."""
    result = load("clustering")
    if result is None:
        return NOT_MEASURED
    head = ["affinity", "n", "k", "seeds", "solver", f"seconds, {cores(result)}", "certified gap"]
    head += ["adjusted Rand index", "objective of spectral clustering over ours"]
    rows = []
    for size in result["sizes"].values():
        by_kind: dict[str, dict[str, dict]] = {}
        for one in size["rows"]:
            by_kind.setdefault(one["kind"], {})[one["method"]] = one
        for kind, methods in by_kind.items():
            ours, other = methods["cluster_tasks"], methods["SpectralClustering"]
            index = ours["adjusted_rand_index"]
            rows.append(
                [
                    kind,
                    str(ours["num_tasks"]),
                    str(ours["num_groups"]),
                    str(len(ours["runs"])),
                    ours["runs"][0]["status"],
                    seconds(ours.get("median_seconds", ours["seconds"]["mean"])),
                    percent(ours["gap_percent"]["mean"]),
                    f"{index['mean']:.2f}" if index else "",
                    f"{other['ratio']['mean']:.2f}",
                ]
            )
    return table(head, rows)


def cores(result: dict) -> str:
    """The machine, in two words."""
    return f"{result['hardware']['cores']} cores"


TABLES: dict[str, Callable[[], str]] = {
    "features": features_table,
    "fits": fits_table,
    "scaling": scaling_table,
    "estimation": estimation_table,
    "large_policy": large_policy_table,
    "projection_error": projection_error_table,
    "designs": designs_table,
    "clustering": clustering_table,
}
