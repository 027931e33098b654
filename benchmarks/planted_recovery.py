"""Are the groups planted in `cartpole-planted` found, with k given and with k automatic?

Run: python benchmarks/planted_recovery.py --json benchmarks/results/planted_recovery.json
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from common import write_results

from pgx_jax.experiments.config import config_fields, make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import run_experiment

NUM_GROUPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to SEEDS-1")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--score-episodes", type=int)
    parser.add_argument("--num-subsets", type=int)
    parser.add_argument("--out", type=Path, help="keep the runs here")
    args = parser.parse_args()
    options = {"score_episodes": args.score_episodes, "num_subsets": args.num_subsets}
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        runs = [one_seed(seed, args.preset, out, options) for seed in range(args.seeds)]
    for name in ("given", "automatic"):
        exact = sum(run[name]["adjusted_rand_index"] == 1 for run in runs)
        print(f"k {name}: exact on {exact} of {len(runs)} seeds")
    if args.json:
        config = config_fields(make_config("cartpole-planted", args.preset, **options))
        write_results(
            args.json,
            {
                "what": "adjusted Rand index of the groups found against the planted ones",
                "config": config,
                "exact": {
                    name: sum(run[name]["adjusted_rand_index"] == 1 for run in runs)
                    for name in ("given", "automatic")
                },
                "num_seeds": len(runs),
                "runs": runs,
            },
        )


def one_seed(seed: int, preset: str, out: Path, options: dict) -> dict:
    """Both runs of a seed; the second reuses all the stages of the first but the last."""
    folder = out / f"seed{seed}"
    result: dict = {"seed": seed}
    for name, num_groups in (("automatic", None), ("given", NUM_GROUPS)):
        config = make_config(
            "cartpole-planted", preset, seed=seed, num_groups=num_groups, **options
        )
        report = run_experiment(config, folder, progress=Progress(quiet=True), grouping_only=True)
        result[name] = {
            key: report[key]
            for key in (
                "adjusted_rand_index",
                "num_groups",
                "labels",
                "objective",
                "certified_gap",
                "selection",
            )
        }
        result["env_steps"] = report["env_steps"]["policygradex"]
        result["meta_returns"] = report["meta_returns"]
    print(
        f"seed {seed}: k given ARI {result['given']['adjusted_rand_index']:.2f}, k automatic "
        f"{result['automatic']['num_groups']} ARI "
        f"{result['automatic']['adjusted_rand_index']:.2f} {result['given']['labels']}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    main()
