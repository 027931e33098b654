"""Seconds and memory of every stage from features to groups, for 10 to 1000 tasks.

Features are given (drawn, with planted groups), and everything after them is timed, as
``group_tasks`` does it by default: the design, the fits, the scores, the affinity, the clustering
with its certified gap, and the automatic number of groups. T and d fall with n as the table SIZES
says. Every size runs in a process of its own, so that memory is its own. A stage is run once with
its compilation, then --repeats times, or fewer where these would pass LONG seconds.

Run: python benchmarks/grouping/scaling.py --json benchmarks/results/scaling.json
(--add keeps the sizes that the file has and this run has not)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import adjusted_rand_score

import pgx_jax
from benchmarks.common import peak_mib, reset_peak
from pgx_jax.estimation import estimate_affinity, usual_affinity_rule, usual_design
from pgx_jax.experiments.provenance import provenance, write_results
from pgx_jax.grouping import normalise_affinity
from pgx_jax.grouping.selection import select_num_groups

# n: T, d, planted groups
SIZES = {
    10: (2048, 400, 3),
    30: (1024, 300, 4),
    100: (512, 200, 5),
    300: (256, 150, 6),
    1000: (128, 100, 10),
}
MAX_GROUPS = 30
LONG = 100.0
PATH = ("design", "fits", "scores", "affinity", "clustering")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--add", action="store_true", help="keep other sizes of the file")
    parser.add_argument("--num-tasks", type=int, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--without", nargs="+", default=[], choices=["automatic_k", "additive"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="runs after the first")
    parser.add_argument("--here", action="store_true", help="in this process; one size only")
    args = parser.parse_args()
    if args.here:
        result = one_size(args.num_tasks[0], args)
        args.json.write_text(json.dumps(result))
        return
    sizes: dict[str, Any] = {}
    if args.add and args.json and args.json.exists():
        sizes = json.loads(args.json.read_text())["sizes"]
    for num_tasks in args.num_tasks:
        result = in_own_process(num_tasks, args)
        result["command"] = provenance()["command"]
        sizes[str(num_tasks)] = result
        total, first = (
            sum(result["stages"][name][key] for name in PATH)
            for key in ("seconds", "first_seconds")
        )
        result |= {"seconds_features_to_labels": total, "first_seconds_features_to_labels": first}
        print(
            f"n={num_tasks} m={result['num_subsets']}: {total:.1f} s from features to labels, "
            f"{first:.1f} s the first time"
        )
        for name, stage in result["stages"].items():
            print(
                f"   {name:22} {stage['seconds']:8.2f} s, the first time "
                f"{stage['first_seconds']:8.2f} s, peak {stage['peak_mib']:7.0f} MiB"
            )
        print(
            f"   ARI {result['adjusted_rand_index']}, gap {result['gap_percent']:.3f} %, "
            f"{result['status']}, automatic k {result.get('automatic_k')}",
            flush=True,
        )
        if args.json:
            ordered = dict(sorted(sizes.items(), key=lambda item: int(item[0])))
            write_results(
                args.json,
                {
                    "what": "seconds (median after the first run), first_seconds (compilation "
                    "included) and peak memory of each stage; one process a size",
                    "sizes": ordered,
                },
            )


def in_own_process(num_tasks: int, args: argparse.Namespace) -> dict:
    """One size in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [sys.executable, __file__, "--here", "--num-tasks", str(num_tasks)]
        command += ["--json", str(part), "--seed", str(args.seed)]
        command += ["--repeats", str(args.repeats)]
        if args.without:
            command += ["--without", *args.without]
        subprocess.run(command, check=True)
        return json.loads(part.read_text())


def one_size(num_tasks: int, args: argparse.Namespace) -> dict:
    """All stages at one size."""
    num_steps, dim, num_groups = SIZES[num_tasks]
    stages: dict[str, dict[str, Any]] = {}
    features, advantage, group = make_features(num_tasks, num_steps, dim, num_groups, args.seed)
    half = jnp.arange(num_steps) % 2 == 0
    fit_mask = jnp.broadcast_to(half, advantage.shape)
    design, rule = usual_design(num_tasks), usual_affinity_rule(num_tasks)

    def timed(name: str, function: Callable) -> Any:
        return stage(stages, name, function, args.repeats)

    subsets = timed("design", lambda: design.draw(jax.random.key(args.seed)))
    fits = timed(
        "fits",
        lambda: pgx_jax.fit_subsets(features, advantage, subsets, l2=1e-2, tol=1e-4, mask=fit_mask),
    )
    scores = timed(
        "scores", lambda: pgx_jax.score_subsets(fits, features, advantage, mask=~fit_mask)
    )
    estimated = timed("affinity", lambda: estimate_affinity(scores, subsets, rule))
    found = timed("clustering", lambda: pgx_jax.cluster_tasks(estimated.affinity, num_groups))
    result = {
        "num_subsets": int(subsets.shape[0]),
        "subset_sizes": sorted({int(size) for size in np.asarray(subsets).sum(axis=1)}),
        "num_steps": num_steps,
        "dim": dim,
        "num_groups": num_groups,
        "affinity": rule,
        "coverage": pgx_jax.subset_coverage(subsets)._asdict(),
        "converged_fits": float(np.mean(np.asarray(fits.converged))),
        "adjusted_rand_index": float(adjusted_rand_score(group, found.labels)),
        "gap_percent": gap_percent(found, estimated.affinity),
        "status": found.status,
        "stages": stages,
    }
    if "additive" not in args.without and rule != "additive":
        additive = timed(
            "additive_affinity",
            lambda: pgx_jax.task_affinity(scores, subsets, reduce="additive"),
        )
        other = timed("clustering_additive", lambda: pgx_jax.cluster_tasks(additive, num_groups))
        result["additive"] = {
            "adjusted_rand_index": float(adjusted_rand_score(group, other.labels)),
            "gap_percent": gap_percent(other, additive),
            "status": other.status,
        }
    if "automatic_k" not in args.without:
        most = min(MAX_GROUPS, num_tasks - 1)
        chosen, errors = timed(
            "automatic_k",
            lambda: select_num_groups(
                np.asarray(scores), np.asarray(subsets), refit=estimated.refit, max_groups=most
            ),
        )
        result["automatic_k"] = chosen
        result["automatic_k_errors"] = errors
    return result


def make_features(
    num_tasks: int, num_steps: int, dim: int, num_groups: int, seed: int
) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Features and advantages that lean on one direction a group, and the groups."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(num_tasks) % num_groups)
    directions = rng.normal(size=(num_groups, dim)).astype(np.float32)
    features = rng.standard_normal((num_tasks, num_steps, dim), np.float32)
    signal = np.einsum("ntd,nd->nt", features, directions[group])
    advantage = signal + 0.5 * signal.std() * rng.standard_normal(signal.shape, np.float32)
    scaled, _ = pgx_jax.normalise_features(jnp.asarray(features))
    advantage = pgx_jax.standardise_advantage(jnp.asarray(advantage, jnp.float32))
    return jax.block_until_ready(scaled), jax.block_until_ready(advantage), group


def gap_percent(found: pgx_jax.Grouping, affinity: Any) -> float:
    """Certified gap in percent of the objective, the affinity's mean taken off."""
    level = found.objective - normalise_affinity(affinity).mean * len(found.labels)
    return 100 * found.certified_gap / level


def stage(stages: dict, name: str, function: Callable, repeats: int) -> Any:
    """Runs one stage, noting its seconds and the most memory that the process held meanwhile."""

    def once() -> Any:
        started = time.perf_counter()
        result = function()
        jax.block_until_ready([part for part in jax.tree.leaves(result) if hasattr(part, "shape")])
        seconds.append(time.perf_counter() - started)
        return result

    seconds: list[float] = []
    held = reset_peak()
    result = once()
    while len(seconds) <= repeats and sum(seconds) < LONG:
        once()
    stages[name] = {
        "seconds": statistics.median(seconds[1:] or seconds),
        "first_seconds": seconds[0],
        "all_seconds": seconds,
        "held_before_mib": held,
        "peak_mib": peak_mib(),
    }
    return result


if __name__ == "__main__":
    main()
