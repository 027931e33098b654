"""Error of the affinity against the number of subsets: random and balanced designs, each estimator.

Scores are drawn from known effects, f_i(S) = a_i + s_i (Σ_{j ∈ S} B_ij + noise), and the affinity
estimated from them is held against B: by the relative error that is left after the best scale,
sqrt(1 - r²) over the pairs (sums of rows and columns removed, which no grouping sees), and by
whether clustering it gives the planted groups. Random subsets have the sizes of the balanced ones.

Run: python benchmarks/grouping/designs.py --json benchmarks/results/designs.json
(--add keeps the rows that the file has and this run has not)
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
from sklearn.metrics import adjusted_rand_score

import pgx_jax
from pgx_jax.diagnostics import mean_interval
from pgx_jax.estimation.designs.coverings import schoenheim_bound
from pgx_jax.experiments.provenance import provenance, write_results
from pgx_jax.grouping import normalise_affinity, round_to_groups

ESTIMATORS = ("pair", "additive", "completed")
TRUTHS = ("blocks", "graded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--add", action="store_true", help="keep other rows of the file")
    parser.add_argument("--truths", nargs="+", default=list(TRUTHS), choices=TRUTHS)
    parser.add_argument("--num-tasks", type=int, default=50)
    parser.add_argument("--subset-size", type=int, default=7)
    parser.add_argument("--num-groups", type=int, default=5)
    parser.add_argument("--pair-counts", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--noise", type=float, default=1.0, help="relative to the signal")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to SEEDS-1")
    args = parser.parse_args()

    rows: list[dict] = []
    if args.add and args.json and args.json.exists():
        rows = json.loads(args.json.read_text())["rows"]
    for truth in args.truths:
        for pair_count in args.pair_counts:
            new = one_size(truth, pair_count, args)
            kept = [row for row in rows if not same_case(row, new[0])]
            rows = kept + [row | {"command": provenance()["command"]} for row in new]
    if args.json:
        write_results(
            args.json,
            {
                "what": "relative error of the affinity, and share of seeds with the planted "
                "groups, against the number of subsets m",
                "num_seeds": args.seeds,
                "schoenheim_bound": schoenheim_bound(args.num_tasks, args.subset_size),
                "rows": rows,
            },
        )


def same_case(row: dict, other: dict) -> bool:
    """Whether two rows are of the same truth, tasks and number of subsets."""
    keys = ("truth", "num_tasks", "subset_size", "noise", "num_subsets")
    return all(row[key] == other[key] for key in keys)


def one_size(truth: str, pair_count: int, args: argparse.Namespace) -> list[dict]:
    """All designs and estimators with one number of subsets."""
    found: dict = {}
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        balanced = np.asarray(
            pgx_jax.balanced_subsets(
                jax.random.key(seed),
                args.num_tasks,
                args.subset_size,
                min_pair_count=pair_count,
                size_tolerance=1,
            )
        )
        designs = {"random": rng.permuted(balanced, axis=1), "balanced": balanced}
        effects, group = planted(truth, args.num_tasks, args.num_groups, rng)
        for design, subsets in designs.items():
            scores = draw_scores(effects, subsets, args.noise, rng)
            coverage = pgx_jax.subset_coverage(subsets)
            for estimator in ESTIMATORS:
                affinity = estimate(estimator, scores, subsets)
                values = normalise_affinity(affinity).values
                labels = round_to_groups(values, args.num_groups, num_random=8)
                record = found.setdefault((design, estimator), {"m": len(subsets), "runs": []})
                record["runs"].append(
                    {
                        "seed": seed,
                        "error": relative_error(affinity, effects),
                        "adjusted_rand_index": float(adjusted_rand_score(group, labels)),
                        "uncovered": coverage.num_uncovered,
                        "most": coverage.most,
                    }
                )
    rows = []
    for (design, estimator), record in found.items():
        runs = record["runs"]
        row = {
            "truth": truth,
            "num_tasks": args.num_tasks,
            "subset_size": args.subset_size,
            "num_groups": args.num_groups,
            "noise": args.noise,
            "design": design,
            "estimator": estimator,
            "num_subsets": record["m"],
            "error": mean_interval([run["error"] for run in runs]),
            "adjusted_rand_index": mean_interval([run["adjusted_rand_index"] for run in runs]),
            "exact": float(np.mean([run["adjusted_rand_index"] == 1 for run in runs])),
            "uncovered_pairs": float(np.mean([run["uncovered"] for run in runs])),
            "largest_pair_count": float(np.mean([run["most"] for run in runs])),
            "runs": runs,
        }
        rows.append(row)
        error = row["error"]
        print(
            f"{truth:7} m={row['num_subsets']:<4} {design:8} {estimator:9} "
            f"error {error['mean']:.2f} [{error['low'] or np.nan:.2f}, "
            f"{error['high'] or np.nan:.2f}]  ARI {row['adjusted_rand_index']['mean']:.2f}  "
            f"exact {row['exact']:.0%}  uncovered {row['uncovered_pairs']:.0f}",
            flush=True,
        )
    return rows


def planted(
    truth: str, num_tasks: int, num_groups: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Effects B, symmetric with zero diagonal, and the groups in them."""
    group = rng.permutation(np.arange(num_tasks) % num_groups)
    effects = 1.0 * (group[:, None] == group)
    if truth == "graded":
        # Two more dimensions in which tasks differ by degrees, groups or not.
        factor = rng.normal(size=(num_tasks, 2)) * 0.4
        effects = effects + factor @ factor.T
    np.fill_diagonal(effects, 0.0)
    return effects, group


def draw_scores(
    effects: np.ndarray, subsets: np.ndarray, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Scores of the members with noise in units of the signal's deviation; NaN elsewhere."""
    signal = subsets @ effects
    deviation = np.mean([signal[held, task].std() for task, held in enumerate(subsets.T)])
    values = signal + noise * deviation * rng.normal(size=signal.shape)
    num_tasks = len(effects)
    units = np.exp(rng.normal(size=num_tasks))
    return np.where(subsets, 5 * rng.normal(size=num_tasks) + units * values, np.nan)


def estimate(estimator: str, scores: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """The affinity; a pair in no subset counts as the mean where the estimator does not know it."""
    if estimator == "completed":
        return pgx_jax.completed_affinity(scores, subsets).affinity
    member = subsets.astype(float)
    never = member.T @ member == 0
    # Under jit a pair that never meets is NaN instead of an error.
    affinity = np.array(_affinity[estimator](scores.astype(np.float32), subsets), float)
    affinity[never] = np.mean(affinity[~never & ~np.eye(len(never), dtype=bool)])
    return affinity


_affinity = {
    name: jax.jit(lambda *data, name=name: pgx_jax.task_affinity(*data, reduce=name))
    for name in ("pair", "additive")
}


def relative_error(affinity: np.ndarray, effects: np.ndarray) -> float:
    """sqrt(1 - r²) between the pairs of both, sums of rows and columns removed."""
    off = ~np.eye(len(effects), dtype=bool)

    def pairs(matrix: np.ndarray) -> np.ndarray:
        mean = np.where(off, matrix, 0.0).sum(axis=1) / (len(matrix) - 1)
        return (matrix - mean - mean[:, None])[off]

    correlation = np.corrcoef(pairs(affinity), pairs(effects))[0, 1]
    return float(np.sqrt(max(1 - max(correlation, 0.0) ** 2, 0.0)))


if __name__ == "__main__":
    main()
