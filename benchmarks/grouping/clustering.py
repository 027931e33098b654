"""Clustering of 10 to 1000 tasks: seconds, certified gap, and whether planted groups are found.

Against the solvers of cvxpy where these finish, and against spectral clustering and k-means on the
leading eigenvectors, which certify nothing.

Run: python benchmarks/grouping/clustering.py --json benchmarks/results/clustering.json
(--add keeps the sizes and kinds that the file has and this run has not)
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score

from benchmarks.common import peak_mib, reset_peak
from pgx_jax import cluster_tasks
from pgx_jax.diagnostics import mean_interval
from pgx_jax.experiments.provenance import provenance, write_results
from pgx_jax.grouping import (
    canonical_labels,
    import_cvxpy,
    normalise_affinity,
    partition_objective,
)
from pgx_jax.grouping.relaxation.semidefinite import choose_solver

NUM_GROUPS = {10: 3, 50: 5, 100: 10, 300: 10, 1000: 20}
# Noise relative to the difference of entries within and between groups; None is noise alone.
KINDS = {"planted, noise 0.5": 0.5, "planted, noise 1": 1.0, "random": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--add", action="store_true", help="keep the file's other rows")
    parser.add_argument("--num-tasks", type=int, nargs="+", default=list(NUM_GROUPS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to SEEDS-1")
    parser.add_argument("--large-seeds", type=int, default=1, help="the same beyond 300 tasks")
    parser.add_argument("--largest-clarabel", type=int, default=50)
    parser.add_argument("--largest-scs", type=int, default=100)
    args = parser.parse_args()

    # What is loaded at the first call is not in anyone's seconds.
    import_cvxpy()
    for function in methods(10, 2, 0, args).values():
        function(make_affinity(10, 2, 0.5, 0)[0])
    sizes: dict[str, dict] = {}
    if args.add and args.json and args.json.exists():
        sizes = json.loads(args.json.read_text())["sizes"]
    command = provenance()["command"]
    for num_tasks, kind in itertools.product(args.num_tasks, args.kinds):
        earlier = sizes.get(str(num_tasks), {"rows": []})["rows"]
        rows = [row for row in earlier if row["kind"] != kind]
        rows += [row | {"command": command} for row in one_kind(num_tasks, kind, args)]
        sizes[str(num_tasks)] = {"rows": rows}
        if args.json:
            write_results(
                args.json,
                {
                    "what": "seconds, and those of the processor; gap in % of the objective; "
                    "adjusted Rand index against the planted groups; objective (of the affinity "
                    "less its mean) over that of cluster_tasks",
                    "sizes": dict(sorted(sizes.items(), key=lambda item: int(item[0]))),
                },
            )


def one_kind(num_tasks: int, kind: str, args: argparse.Namespace) -> list[dict]:
    """Every method on a few matrices of one kind."""
    num_groups = NUM_GROUPS.get(num_tasks, max(2, round(num_tasks**0.5 / 1.5)))
    runs: dict[str, list[dict]] = {}
    for seed in range(args.seeds if num_tasks <= 300 else args.large_seeds):
        affinity, group = make_affinity(num_tasks, num_groups, KINDS[kind], seed)
        values = normalise_affinity(affinity).values
        ours = None
        for name, function in methods(num_tasks, num_groups, seed, args).items():
            held = reset_peak()
            started, cpu_started = time.perf_counter(), time.process_time()
            labels, gap, status = function(affinity)
            seconds = time.perf_counter() - started
            cpu_seconds = time.process_time() - cpu_started
            objective = partition_objective(values, labels)
            ours = objective if ours is None else ours
            runs.setdefault(name, []).append(
                {
                    "seed": seed,
                    "seconds": seconds,
                    "cpu_seconds": cpu_seconds,
                    "held_before_mib": held,
                    "peak_mib": peak_mib(),
                    "objective": objective,
                    "objective_of_planted": None
                    if KINDS[kind] is None
                    else partition_objective(values, group),
                    "ratio": objective / ours,
                    "gap_percent": gap,
                    "status": status,
                    "adjusted_rand_index": None
                    if KINDS[kind] is None
                    else float(adjusted_rand_score(group, labels)),
                }
            )
    rows = []
    for name, found in runs.items():
        row = {"num_tasks": num_tasks, "num_groups": num_groups, "kind": kind, "method": name}
        for key in ("seconds", "cpu_seconds", "ratio", "gap_percent", "adjusted_rand_index"):
            given = [run[key] for run in found if run[key] is not None]
            row[key] = mean_interval(given) if given else None
        row["median_seconds"] = statistics.median(run["seconds"] for run in found)
        row["peak_mib"] = max(run["peak_mib"] for run in found)
        row["runs"] = found
        rows.append(row)
        text = ", ".join(
            f"{key} {row[key]['mean']:.4g}"
            for key in ("seconds", "cpu_seconds", "gap_percent", "ratio", "adjusted_rand_index")
            if row[key]
        )
        print(
            f"n={num_tasks} k={num_groups} {kind}: {name:28} {text}, median of seconds "
            f"{row['median_seconds']:.4g}, peak {row['peak_mib']:.0f} MiB, {found[0]['status']}",
            flush=True,
        )
    return rows


def make_affinity(
    num_tasks: int, num_groups: int, noise: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric affinity, 1 within groups and 0 between them plus noise, and the groups."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(num_tasks) % num_groups)
    errors = rng.normal(size=(num_tasks, num_tasks))
    errors = (errors + errors.T) / np.sqrt(2)
    if noise is None:
        return errors, group
    return 1.0 * (group[:, None] == group) + noise * errors, group


def methods(
    num_tasks: int, num_groups: int, seed: int, args: argparse.Namespace
) -> dict[str, Callable]:
    """Functions of the affinity that return labels, the gap in percent, and a status."""

    def ours(solver: str | None) -> Callable:
        def run(affinity: np.ndarray) -> tuple:
            found = cluster_tasks(affinity, num_groups, solver=solver)
            normalised = normalise_affinity(affinity)
            level = found.objective - normalised.mean * num_tasks
            return found.labels, 100 * found.certified_gap / level, found.status

        return run

    chosen = {"cluster_tasks": ours(None)}
    if num_tasks <= args.largest_clarabel:
        chosen["solver CLARABEL (cvxpy)"] = ours("CLARABEL")
    if num_tasks <= args.largest_scs:
        chosen["solver SCS (cvxpy)"] = ours("SCS")
    if choose_solver(None, num_tasks) != "ADMM":
        chosen["solver ADMM"] = ours("ADMM")

    def spectral(affinity: np.ndarray) -> tuple:
        # It takes weights of edges: the affinity is moved up to be non-negative.
        weights = affinity - affinity.min()
        model = SpectralClustering(num_groups, affinity="precomputed", random_state=seed)
        return canonical_labels(model.fit_predict(weights)), None, "scikit-learn"

    def k_means(affinity: np.ndarray) -> tuple:
        centre = np.eye(num_tasks) - 1 / num_tasks
        values = normalise_affinity(affinity).values
        vectors = np.linalg.eigh(centre @ values @ centre)[1][:, ::-1][:, : num_groups - 1]
        model = KMeans(num_groups, n_init=10, random_state=seed)
        return canonical_labels(model.fit_predict(vectors)), None, "scikit-learn"

    chosen["SpectralClustering"] = spectral
    chosen["k-means on eigenvectors"] = k_means
    return chosen


if __name__ == "__main__":
    main()
