"""The whole of stage 2, from transitions to groups, against the way of the authors' released code.

Run: python benchmarks/estimation/estimation.py --json benchmarks/results/estimation.json

Features, fits, scores, affinity and clustering on transitions with planted groups. Two parts, in
one process. "together": both ways from end to end on --peer-transitions transitions, with the
groups that each finds. "full": pgx_jax at full size, median after a warm-up; the other way's loops
are linear in transitions (features) and in subsets (fits, scores), so these are extrapolated, one
by one, from --peer-transitions and --peer-subsets, and its affinity and clustering are measured
whole. Its full-size fits and scores take pgx_jax's features. See peers.py; it needs PyTorch.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import adjusted_rand_score

import pgx_jax
from benchmarks.common import gemm_rate, peak_mib, reset_peak
from benchmarks.estimation.features import ACTIONS, OBSERVATIONS, add_sizes
from benchmarks.estimation.subset_fits import scikit_learn
from benchmarks.peers import (
    released_affinity,
    released_clustering,
    released_features,
    released_matrix,
    released_policy,
    released_scores,
)
from pgx_jax.estimation.gradients.halves import split_transitions
from pgx_jax.experiments.provenance import write_results
from pgx_jax.networks import MLP, GaussianPolicy, count_parameters

PLANTED = 3
ASKED = 100
MAKERS = {
    "tensor_sketch": pgx_jax.tensor_sketch,
    "gaussian": pgx_jax.gaussian_projection,
}
# The matrix's type, and scikit-learn's solver: as released, and what else its user could choose.
OPTIONS = {
    "as released: float64, lbfgs": ("float64", "lbfgs"),
    "float64, liblinear": ("float64", "liblinear"),
    "float32, lbfgs": ("float32", "lbfgs"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    add_sizes(parser)
    parser.add_argument("--num-subsets", type=int, default=200)
    parser.add_argument("--subset-size", type=int, default=4)
    parser.add_argument("--l2", type=float, default=1e-2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-transitions", type=int, default=1280, help="of all tasks")
    parser.add_argument("--peer-subsets", type=int, default=10)
    args = parser.parse_args()
    if find_spec("torch") is None:
        sys.exit("the released code's way needs PyTorch: pip install torch")

    policy = GaussianPolicy((OBSERVATIONS,), ACTIONS, MLP((args.width,) * (args.depth - 1)))
    params = policy.init(jax.random.key(0))
    num_params = count_parameters(params)
    subsets = pgx_jax.balanced_subsets(
        jax.random.key(3), args.num_tasks, args.subset_size, num_subsets=args.num_subsets
    )
    gemm = gemm_rate()
    full, planted = make_data(args, args.num_steps)
    part, _ = make_data(args, max(args.peer_transitions // args.num_tasks, 2))
    print(f"p = {num_params}, {full.advantage.size} transitions, GEMM {gemm:.0f} GFLOP/s")

    rows: dict[str, Any] = {}
    features: Any = None
    together: dict[str, Any] = {"num_steps": part.advantage.shape[1]}
    for name, make in MAKERS.items():
        projection = make(jax.random.key(2), params, args.dim)
        ours(args, policy, params, part, subsets, projection)
        found = ours(args, policy, params, part, subsets, projection)
        together[f"pgx_jax, {name}"] = {key: found[key] for key in ("seconds", "stages", "labels")}
        rows[f"pgx_jax, {name}"], features = repeated(
            args, policy, params, full, subsets, projection
        )
        print(name, rows[f"pgx_jax, {name}"], flush=True)
    measured = {
        dtype: peer_features(args, params, part, num_params, dtype)
        for dtype in ("float64", "float32")
    }
    fits = {
        solver: peer_fits(args, features, full.advantage, np.asarray(subsets), solver)
        for solver in ("lbfgs", "liblinear")
    }
    for name, (dtype, solver) in OPTIONS.items():
        stages, labels = peer_rest(
            args, measured[dtype]["features"], part.advantage, np.asarray(subsets), solver
        )
        stages = measured[dtype]["stages"] | stages
        together[name] = {"seconds": sum(stages.values()), "stages": stages, "labels": labels}
        rows[name] = extrapolated(args, measured[dtype]["stages"], fits[solver], stages)
        rows[name]["peak_mib_of_features"] = measured[dtype]["peak_mib"]
        print(name, rows[name], flush=True)
    summarise(rows, together, planted)
    if args.json:
        write_results(
            args.json,
            {
                "what": "seconds from transitions to groups. rows: full size, pgx_jax measured "
                "(median after a warm-up) and the released code's way extrapolated from what each "
                "stage says; together: both measured from end to end on fewer transitions a task",
                "size": {key: value for key, value in vars(args).items() if key != "json"}
                | {"num_params": num_params, "planted_groups": PLANTED},
                "gemm_gflops": gemm,
                "asked_ratio": ASKED,
                "rows": rows,
                "together": together,
            },
        )


def make_data(args: argparse.Namespace, num_steps: int) -> tuple[pgx_jax.Transitions, list[int]]:
    """Transitions whose advantages want each group's own action in a state; and the groups."""
    keys = jax.random.split(jax.random.key(1), 5)
    planted = np.arange(args.num_tasks) % PLANTED
    shape = (args.num_tasks, num_steps)
    observation = jax.random.normal(keys[0], (*shape, OBSERVATIONS))
    action = 0.6 * jax.random.normal(keys[1], (*shape, ACTIONS))
    always = jax.random.normal(keys[2], (PLANTED, 1, ACTIONS))
    by_state = jax.random.normal(keys[3], (PLANTED, OBSERVATIONS, ACTIONS)) / OBSERVATIONS**0.5
    wanted = always[planted] + jnp.einsum("nto,noa->nta", observation, by_state[planted])
    gain = (action * wanted).sum(axis=-1)
    advantage = gain + 0.25 * gain.std() * jax.random.normal(keys[4], shape)
    advantage = pgx_jax.standardise_advantage(advantage)
    return pgx_jax.Transitions(observation, action, advantage), planted.tolist()


def ours(
    args: argparse.Namespace, policy: Any, params: Any, data: Any, subsets: Any, projection: Any
) -> dict[str, Any]:
    """Seconds of every stage, the groups, and the features."""
    stages: dict[str, float] = {}

    def features() -> Any:
        made = pgx_jax.gradient_features(policy.log_prob, params, data, projection)
        return pgx_jax.normalise_features(made)[0]

    made = stage(stages, "features", features)
    fit_mask, score_mask = split_transitions(jax.random.key(4), data.advantage)
    fits = stage(
        stages,
        "fits",
        lambda: pgx_jax.fit_subsets(made, data.advantage, subsets, l2=args.l2, mask=fit_mask),
    )
    scores = stage(
        stages,
        "scores",
        lambda: pgx_jax.score_subsets(fits, made, data.advantage, mask=score_mask),
    )
    affinity = stage(
        stages, "affinity", lambda: pgx_jax.task_affinity(scores, subsets, reduce="additive")
    )
    found = stage(stages, "clustering", lambda: pgx_jax.cluster_tasks(affinity, PLANTED))
    return {
        "seconds": sum(stages.values()),
        "stages": stages,
        "labels": found.labels.tolist(),
        "features": made,
    }


def repeated(
    args: argparse.Namespace, policy: Any, params: Any, data: Any, subsets: Any, projection: Any
) -> tuple[dict[str, Any], Any]:
    """Medians after a warm-up, the most memory of the process meanwhile, and the features."""
    runs = [ours(args, policy, params, data, subsets, projection)]
    reset_peak()
    held = peak_mib()
    runs += [ours(args, policy, params, data, subsets, projection) for _ in range(args.repeats)]
    median = {
        name: statistics.median(run["stages"][name] for run in runs[1:])
        for name in runs[0]["stages"]
    }
    row = {
        "seconds": statistics.median(run["seconds"] for run in runs[1:]),
        "all_seconds": [run["seconds"] for run in runs[1:]],
        "first_seconds": runs[0]["seconds"],
        "stages": median,
        "peak_mib": peak_mib(),
        "held_before_mib": held,
        "labels": runs[-1]["labels"],
    }
    return row, runs[-1]["features"]


def peer_features(
    args: argparse.Namespace, params: Any, data: Any, num_params: int, dtype: str
) -> dict[str, Any]:
    """Features of a few transitions and their seconds; the matrix apart, as it is drawn once."""
    policy = released_policy(args, params)
    observation, action = (
        np.array(leaf).reshape(-1, leaf.shape[-1]) for leaf in (data.observation, data.action)
    )
    stages: dict[str, float] = {}
    reset_peak()
    matrix = stage(
        stages, "matrix", lambda: released_matrix(num_params, args.dim, np.dtype(dtype).type)
    )
    released_features(policy, matrix, observation[:2], action[:2])
    features = stage(
        stages, "features", lambda: released_features(policy, matrix, observation, action)
    )
    features /= np.sqrt((features**2).sum(axis=-1).mean())
    shape = (*data.advantage.shape, args.dim)
    return {"features": features.reshape(shape), "stages": stages, "peak_mib": peak_mib()}


def half(features: Any, advantage: Any, which: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, T/2, d] and advantages to fit on (0) or to score on (1), ours' same halves."""
    mask = np.asarray(split_transitions(jax.random.key(4), advantage)[which])
    count = mask[0].sum()
    return (
        np.asarray(features)[mask].reshape(len(mask), count, -1),
        np.asarray(advantage)[mask].reshape(len(mask), count),
    )


def peer_fits(
    args: argparse.Namespace, features: Any, advantage: Any, subsets: np.ndarray, solver: str
) -> dict[str, float]:
    """Seconds of fitting and scoring a few subsets at full size."""
    fit, score = half(features, advantage, 0), half(features, advantage, 1)
    scikit_learn(*fit, subsets[:1], l2=args.l2, solver=solver)  # its import is not in the seconds
    few = subsets[: args.peer_subsets]
    stages: dict[str, float] = {}
    coef = stage(stages, "fits", lambda: scikit_learn(*fit, few, l2=args.l2, solver=solver))
    stage(stages, "scores", lambda: released_scores(coef, *score, few))
    return stages


def peer_rest(
    args: argparse.Namespace, features: Any, advantage: Any, subsets: np.ndarray, solver: str
) -> tuple[dict[str, float], list[int]]:
    """Seconds of everything after the features, for all subsets, and the groups."""
    fit, score = half(features, advantage, 0), half(features, advantage, 1)
    stages: dict[str, float] = {}
    coef = stage(stages, "fits", lambda: scikit_learn(*fit, subsets, l2=args.l2, solver=solver))
    scores = stage(stages, "scores", lambda: released_scores(coef, *score, subsets))
    affinity = stage(stages, "affinity", lambda: released_affinity(scores, subsets))
    released_clustering(affinity, PLANTED)  # cvxpy's first call imports its solvers
    labels = stage(stages, "clustering", lambda: released_clustering(affinity, PLANTED))
    return stages, labels.tolist()


def extrapolated(
    args: argparse.Namespace,
    made: dict[str, float],
    fitted: dict[str, float],
    rest: dict[str, float],
) -> dict[str, Any]:
    """Seconds at full size, with what each stage was measured on."""
    total = args.num_tasks * args.num_steps
    part = args.num_tasks * max(args.peer_transitions // args.num_tasks, 2)
    few = min(args.peer_subsets, args.num_subsets)
    stages: dict[str, Any] = {
        "matrix": {"measured_seconds": made["matrix"], "times": 1},
        "features": {
            "measured_seconds": made["features"],
            "measured_on": f"{part} of {total} transitions",
            "times": total / part,
        },
    }
    for name in ("fits", "scores"):
        stages[name] = {
            "measured_seconds": fitted[name],
            "measured_on": f"{few} of {args.num_subsets} subsets",
            "times": args.num_subsets / few,
        }
    for name in ("affinity", "clustering"):
        stages[name] = {"measured_seconds": rest[name], "times": 1}
    for values in stages.values():
        values["seconds"] = values["measured_seconds"] * values["times"]
    return {
        "seconds": sum(values["seconds"] for values in stages.values()),
        "extrapolated": True,
        "stages": stages,
    }


def summarise(rows: dict[str, Any], together: dict[str, Any], planted: list[int]) -> None:
    """Adds the ratios, and how far the groups agree, and prints them."""
    measured = {name: row for name, row in together.items() if name != "num_steps"}
    for found in (rows, measured):
        for name, row in found.items():
            if "labels" in row:
                row["adjusted_rand_index"] = float(adjusted_rand_score(planted, row["labels"]))
            if name not in OPTIONS:
                row["ratio"] = {
                    other: found[other]["seconds"] / row["seconds"] for other in OPTIONS
                }
    groups = [canonical(row["labels"]) for row in measured.values()]
    together["same_groups"] = all(labels == groups[0] for labels in groups)
    for title, found in (("full size", rows), ("together", measured)):
        for name, row in found.items():
            index = row.get("adjusted_rand_index")
            print(f"{title:<10} {name:<28} {row['seconds']:9.2f} s, ARI {index}")
            for other, ratio in row.get("ratio", {}).items():
                print(f"{'':<10} {ratio:9.1f}x against {other}; {ASKED}x is asked")
    print(f"the same groups by every way: {together['same_groups']}")


def canonical(labels: list[int]) -> list[int]:
    """Labels numbered by first appearance."""
    order: dict[int, int] = {}
    return [order.setdefault(label, len(order)) for label in labels]


def stage(stages: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """Runs a stage and notes its seconds."""
    started = time.perf_counter()
    result = jax.block_until_ready(function())
    stages[name] = time.perf_counter() - started
    return result


if __name__ == "__main__":
    main()
