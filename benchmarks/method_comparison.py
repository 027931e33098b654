"""Policies by group against their alternatives at equal total environment steps, over seeds.

Run: python benchmarks/method_comparison.py cartpole --json benchmarks/results/cartpole.json
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from common import mean_interval, write_results

from pgx_jax.experiments.config import config_fields, make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import run_experiment

OURS = "policygradex"
KEPT = (
    "seed",
    "num_groups",
    "labels",
    "task_names",
    "affinity",
    "adjusted_rand_index",
    "method_adjusted_rand_index",
    "certified_gap",
    "selection",
    "scores",
    "env_steps",
    "total_env_steps",
    "held_out_selection_steps",
    "num_params",
    "method_labels",
    "wall_seconds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to SEEDS-1")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        runs = [one_seed(args.environment, args.preset, seed, out) for seed in range(args.seeds)]
    summary = {split: summarise(runs, split) for split in ("source", "test")}
    for split, methods in summary.items():
        for name, result in methods.items():
            print(f"{split} {name}: {result}")
    if args.json:
        write_results(
            args.json,
            {
                "what": "final mean return per method, and PolicyGradEx's difference to each "
                "alternative paired by seed; Student-t intervals of 95 % over seeds",
                "config": config_fields(make_config(args.environment, args.preset)),
                "num_seeds": len(runs),
                "summary": summary,
                "runs": runs,
            },
        )


def one_seed(environment: str, preset: str, seed: int, out: Path) -> dict:
    config = make_config(environment, preset, seed=seed)
    report = run_experiment(config, out / f"seed{seed}", progress=Progress(quiet=True))
    scores = {name: round(value["source"]["mean"], 1) for name, value in report["scores"].items()}
    print(f"seed {seed}: k = {report['num_groups']}, {scores}", flush=True)
    return {name: report[name] for name in KEPT if name in report}


def summarise(runs: list[dict], split: str) -> dict:
    """Mean with interval per method, and the paired difference to PolicyGradEx."""
    result = {}
    for name in runs[0]["scores"]:
        values = [run["scores"][name][split]["mean"] for run in runs]
        result[name] = {"score": mean_interval(values)}
        if name != OURS:
            ours = [run["scores"][OURS][split]["mean"] for run in runs]
            difference = [a - b for a, b in zip(ours, values, strict=True)]
            result[name]["policygradex_minus_this"] = mean_interval(difference)
    return result


if __name__ == "__main__":
    main()
