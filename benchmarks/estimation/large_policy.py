"""Features of a policy with ten million parameters: seconds and peak memory by projection.

Run: python benchmarks/estimation/large_policy.py --json benchmarks/results/large_policy.json

An MLP with a Gaussian head, by default with p = 10,003,608, on 10 tasks with 2048 transitions each.
Its gradients (N x p) would take 820 GB and its dense projection (p x d) 16 GB. Every projection
runs in a process of its own, so that the memory is its own; seconds include compilation. The dense
Gaussian one is 2 N p d = 1.6e14 operations: a quarter of an hour at 190 GFLOP/s.
(--projection picks; --add keeps the projections that the file has and this run has not)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import jax

import pgx_jax
from benchmarks.common import gemm_rate, peak_mib
from benchmarks.estimation.features import ACTIONS, OBSERVATIONS, add_sizes, make_data
from pgx_jax.experiments.provenance import provenance, write_results
from pgx_jax.networks import MLP, GaussianPolicy, count_parameters

MAKERS = {
    "tensor_sketch": pgx_jax.tensor_sketch,
    "gaussian": pgx_jax.gaussian_projection,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--add", action="store_true", help="keep other projections of the file")
    parser.add_argument("--projection", nargs="+", default=list(MAKERS), choices=MAKERS)
    add_sizes(parser, width=2225)
    parser.add_argument("--limit-gib", type=float, default=4.0, help="fail above this")
    parser.add_argument("--here", action="store_true", help="in this process; one projection only")
    args = parser.parse_args()
    if args.here:
        args.json.write_text(json.dumps(one_projection(args)))
        return
    rows: dict[str, Any] = {}
    if args.add and args.json and args.json.exists():
        rows = json.loads(args.json.read_text())["rows"]
    for name in args.projection:
        row = rows[name] = in_own_process(name, args)
        row["command"] = provenance()["command"]
        print(
            f"{name}: p = {row['num_params']}, {row['num_transitions']} transitions, "
            f"{row['seconds']:.1f} s, peak {row['peak_gib']:.2f} GiB",
            flush=True,
        )
        if args.json:
            write_results(
                args.json,
                {
                    "what": "seconds of gradient_features with its default options, compilation "
                    "included, and peak resident memory; one process a projection",
                    "limit_gib": args.limit_gib,
                    "rows": rows,
                },
            )
    above = [name for name in args.projection if not rows[name]["within_limit"]]
    if above:
        sys.exit(f"more than {args.limit_gib} GiB: {', '.join(above)}")


def in_own_process(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One projection in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [sys.executable, __file__, "--here", "--projection", name, "--json", str(part)]
        for option in ("num_tasks", "num_steps", "width", "depth", "dim", "limit_gib"):
            command += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
        subprocess.run(command, check=True)
        return json.loads(part.read_text())


def one_projection(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of one projection in this process."""
    policy = GaussianPolicy((OBSERVATIONS,), ACTIONS, MLP((args.width,) * (args.depth - 1)))
    params = policy.init(jax.random.key(0))
    transitions = make_data(args)
    jax.block_until_ready((params, transitions))
    gemm = gemm_rate()
    # Read off before the features, as it can only grow.
    before = peak_mib()
    started, cpu_started = time.perf_counter(), time.process_time()
    projection = MAKERS[args.projection[0]](jax.random.key(2), params, args.dim)
    jax.block_until_ready(
        pgx_jax.gradient_features(policy.log_prob, params, transitions, projection)
    )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = peak_mib() / 1024
    num_params = count_parameters(params)
    row = {
        "num_params": num_params,
        "num_transitions": transitions.advantage.size,
        "dim": args.dim,
        "width": args.width,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "gemm_gflops": gemm,
        "peak_before_gib": before / 1024,
        "peak_gib": peak,
        "within_limit": peak < args.limit_gib,
    }
    if args.projection[0] == "gaussian":
        row["gflops"] = 2e-9 * transitions.advantage.size * num_params * args.dim / seconds
    return row


if __name__ == "__main__":
    main()
