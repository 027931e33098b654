"""All subset fits at once against what a user would run instead, in one process.

Run: python benchmarks/estimation/subset_fits.py --json benchmarks/results/subset_fits.json
(--add keeps the peers that the file has and this run has not)
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# The best for all: with two threads scikit-learn's lbfgs takes five times as long on two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import jax
import jax.numpy as jnp
import numpy as np

import pgx_jax
from benchmarks.common import gemm_rate, peak_mib, reset_peak
from pgx_jax.experiments.provenance import provenance, write_results

OURS = "pgx_jax.fit_subsets"
PEERS = {
    "lbfgs": "scikit-learn lbfgs, one subset at a time",
    "liblinear": "scikit-learn liblinear, one subset at a time",
    "jaxopt": "jaxopt LBFGS, vmapped",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--num-tasks", type=int, default=10)
    parser.add_argument("--num-steps", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=400)
    parser.add_argument("--num-subsets", type=int, default=200)
    parser.add_argument("--subset-size", type=int, default=4)
    parser.add_argument("--l2", type=float, default=1e-2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--add", action="store_true", help="keep the file's other peers")
    args = parser.parse_args()
    rows: dict[str, dict] = {}
    if args.add and args.json and args.json.exists():
        rows = json.loads(args.json.read_text())["rows"]

    features, advantage, subsets = make_data(args)
    jax.block_until_ready((features, advantage, subsets))
    gemm = gemm_rate()
    held = reset_peak()
    ours_seconds, ours = timed(
        lambda: jax.block_until_ready(
            pgx_jax.fit_subsets(features, advantage, subsets, l2=args.l2, tol=1e-5)
        ),
        args.repeats,
    )
    peaks = {OURS: peak_mib()}
    data = [np.asarray(part) for part in (features, advantage, subsets)]
    # What takes minutes runs once.
    peers = {
        "lbfgs": (lambda: scikit_learn(*data, l2=args.l2, solver="lbfgs"), args.repeats),
        "liblinear": (lambda: scikit_learn(*data, l2=args.l2, solver="liblinear"), 1),
        "jaxopt": (
            lambda: (
                jax.block_until_ready(
                    pgx_jax.fit_subsets(
                        features, advantage, subsets, l2=args.l2, solver="lbfgs", max_steps=50
                    )
                ).coef
            ),
            1,
        ),
    }
    best = objective(*data, np.asarray(ours.coef), args.l2)
    new = {OURS: {"seconds": ours_seconds, "ratio": 1.0, "repeats": args.repeats}}
    results = {OURS: best}
    for peer in args.peers:
        name, (function, repeats) = PEERS[peer], peers[peer]
        reset_peak()
        seconds, coef = timed(function, repeats, warm_up=peer != "liblinear")
        peaks[name] = peak_mib()
        results[name] = objective(*data, np.asarray(coef), args.l2)
        new[name] = {"seconds": seconds, "ratio": seconds / ours_seconds, "repeats": repeats}
        best = np.minimum(best, results[name])
    command = provenance()["command"]
    for name, row in new.items():
        row["peak_mib"] = peaks[name]
        row["largest_relative_gap"] = float(((results[name] - best) / best).max())
        row["command"] = command
        print(f"{name:<46} {row['seconds']:8.2f} s  x{row['ratio']:.1f}", row)
    rows = {name: (rows | new)[name] for name in (OURS, *PEERS.values()) if name in rows | new}
    work = flops(args, data[2], int(ours.steps))
    share = work / 1e9 / gemm / ours_seconds
    print(f"GEMM {gemm:.0f} GFLOP/s, steps {int(ours.steps)}, {work / 1e9:.0f} GFLOP: {share:.0%}")
    if args.json:
        write_results(
            args.json,
            {
                "what": "seconds for all subset fits, factorisation included: median of the "
                "repeats, after a warm-up; ratio to ours in the run of the command",
                "size": vars(args) | {"json": str(args.json)},
                "held_before_mib": held,
                "gemm_gflops": gemm,
                "gflop": work / 1e9,
                "share_of_gemm_rate": share,
                "converged": int(np.sum(ours.converged)),
                "steps": int(ours.steps),
                "rows": rows,
            },
        )


def make_data(args: argparse.Namespace) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features with a decaying spectrum and labels that lean on them, seeded."""
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (args.num_tasks, args.num_steps, args.dim)
    spectrum = jnp.arange(1, args.dim + 1) ** -0.5
    features = jax.random.normal(keys[0], shape) * spectrum
    features, _ = pgx_jax.normalise_features(features)
    direction = jax.random.normal(keys[1], (args.num_tasks, args.dim))
    advantage = jax.random.normal(keys[2], shape[:2]) + jnp.einsum(
        "ntd,nd->nt", features, direction
    )
    subsets = pgx_jax.balanced_subsets(
        keys[3], args.num_tasks, args.subset_size, num_subsets=args.num_subsets
    )
    return features, advantage, subsets


def timed(
    function: Callable[[], object], repeats: int, *, warm_up: bool = True
) -> tuple[float, object]:
    """Median seconds and the last result."""
    if warm_up:
        function()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def scikit_learn(
    features: np.ndarray, advantage: np.ndarray, subsets: np.ndarray, *, l2: float, solver: str
) -> np.ndarray:
    """One LogisticRegression a subset: no intercept, the same objective."""
    from sklearn.linear_model import LogisticRegression

    coef = np.zeros((len(subsets), features.shape[-1]), np.float32)
    for row, subset in enumerate(subsets):
        data = features[subset].reshape(-1, features.shape[-1])
        target = advantage[subset].reshape(-1)
        model = LogisticRegression(
            C=1 / (l2 * len(target)), fit_intercept=False, solver=solver, tol=1e-5, max_iter=1000
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data, target > 0, sample_weight=np.abs(target))
        coef[row] = model.coef_[0]
    return coef


def objective(
    features: np.ndarray, advantage: np.ndarray, subsets: np.ndarray, coef: np.ndarray, l2: float
) -> np.ndarray:
    """L_S at each subset's coefficients, in float64."""
    values = np.zeros(len(subsets))
    for row, subset in enumerate(subsets):
        data = features[subset].reshape(-1, features.shape[-1]).astype(float)
        target = advantage[subset].reshape(-1).astype(float)
        loss = np.logaddexp(0, -np.sign(target) * (data @ coef[row].astype(float)))
        ridge = l2 / 2 * (coef[row].astype(float) ** 2).sum()
        values[row] = (np.abs(target) * loss).mean() + ridge
    return values


def flops(args: argparse.Namespace, subsets: np.ndarray, steps: int) -> float:
    """Multiplications and additions of the matrix products and the factorisation."""
    gram = 2 * args.num_tasks * args.num_steps * args.dim**2
    factor = 4 / 3 * args.dim**3  # Cholesky and its inverse
    # Margins and gradient: at the start, in every step, and once more at the end.
    products = 4 * args.num_steps * args.dim * int(subsets.sum())
    return gram + factor + (steps + 2) * products


if __name__ == "__main__":
    main()
