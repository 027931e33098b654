"""What each projection changes, measured against fits on the whole, unprojected gradients.

Run:
  python benchmarks/estimation/projection_error.py --json benchmarks/results/projection_error.json

Tasks with planted groups and an MLP policy; scores on the scoring half. For every draw of every
projection: the rank correlation of a task's scores over the subsets that hold it with the oracle's
(mean over tasks), the correlation of the affinities off the diagonal, and the adjusted Rand
index of the groups, all against the oracle; the oracle itself against the planted groups.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

import pgx_jax
from pgx_jax.diagnostics import mean_interval
from pgx_jax.estimation import fit_subsets_exact, gradient_gram, normalise_gram
from pgx_jax.estimation.gradients.halves import split_transitions
from pgx_jax.experiments.provenance import write_results
from pgx_jax.networks import MLP, CategoricalPolicy, count_parameters

OBSERVATIONS, ACTIONS, PLANTED = 16, 4, 3
KINDS: tuple[Any, ...] = ("surrogate", "linearised")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--num-tasks", type=int, default=10)
    parser.add_argument("--num-steps", type=int, default=512)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--dim", type=int, default=400)
    parser.add_argument("--num-subsets", type=int, default=200)
    parser.add_argument("--subset-size", type=int, default=4)
    parser.add_argument("--l2", type=float, default=1e-2)
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()

    policy = CategoricalPolicy((OBSERVATIONS,), ACTIONS, MLP((args.width,) * 3))
    params = policy.init(jax.random.key(0))
    data, planted = make_data(args)
    subsets = pgx_jax.balanced_subsets(
        jax.random.key(2), args.num_tasks, args.subset_size, num_subsets=args.num_subsets
    )
    fit_mask, score_mask = split_transitions(jax.random.key(3), data.advantage)

    started = time.perf_counter()
    gram, _ = normalise_gram(gradient_gram(policy.log_prob, params, data))
    fits = fit_subsets_exact(gram, data.advantage, subsets, l2=args.l2, mask=fit_mask)
    oracle = outcome(fits, gram, data.advantage, score_mask, subsets)
    oracle_seconds = time.perf_counter() - started
    facts = {
        "num_params": count_parameters(params),
        "oracle_seconds": oracle_seconds,
        "oracle_converged": int(np.sum(fits.converged)),
        "oracle_steps": int(fits.steps),
        "oracle_ari_to_planted": {
            kind: float(adjusted_rand_score(planted, oracle[kind]["labels"])) for kind in KINDS
        },
    }
    print(facts, flush=True)

    makers = {
        "gaussian": pgx_jax.gaussian_projection,
        "rademacher": pgx_jax.rademacher_projection,
        "tensor_sketch": pgx_jax.tensor_sketch,
    }
    rows: dict[str, Any] = {}
    for name, make in makers.items():
        drawn = []
        for draw in range(args.draws):
            projection = make(jax.random.key(100 + draw), params, args.dim)
            made = pgx_jax.gradient_features(policy.log_prob, params, data, projection)
            made, _ = pgx_jax.normalise_features(made)
            fits = pgx_jax.fit_subsets(made, data.advantage, subsets, l2=args.l2, mask=fit_mask)
            found = outcome(fits, made, data.advantage, score_mask, subsets)
            drawn.append({kind: agreement(found[kind], oracle[kind], subsets) for kind in KINDS})
        rows[name] = {
            kind: {
                measure: mean_interval([one[kind][measure] for one in drawn])
                for measure in drawn[0][kind]
            }
            for kind in KINDS
        }
        for kind in KINDS:
            values = {key: round(found["mean"], 4) for key, found in rows[name][kind].items()}
            print(f"{name:<14} {kind:<11}", values, flush=True)
    if args.json:
        size = {name: str(value) for name, value in vars(args).items()}
        write_results(args.json, {"what": __doc__, "size": size, **facts, "rows": rows})


def make_data(args: argparse.Namespace) -> tuple[pgx_jax.Transitions, np.ndarray]:
    """Transitions whose advantages want each group's own action in a state; and the groups."""
    keys = jax.random.split(jax.random.key(1), 5)
    planted = np.arange(args.num_tasks) % PLANTED
    shape = (args.num_tasks, args.num_steps)
    observation = jax.random.normal(keys[0], (*shape, OBSERVATIONS))
    action = jax.random.randint(keys[1], shape, 0, ACTIONS)
    wanted = jax.random.normal(keys[2], (PLANTED, OBSERVATIONS, ACTIONS))[planted]
    wanted += 0.5 * jax.random.normal(keys[3], wanted.shape)
    value = jnp.einsum("nto,noa->nta", observation, wanted)
    gain = jnp.take_along_axis(value, action[..., None], axis=-1)[..., 0] - value.mean(axis=-1)
    advantage = gain + 4 * jax.random.normal(keys[4], shape)
    advantage = pgx_jax.standardise_advantage(advantage)
    return pgx_jax.Transitions(observation, action, advantage), planted


def outcome(fits: Any, features: Any, advantage: Any, mask: Any, subsets: Any) -> dict[str, Any]:
    """Scores, affinity and groups for both kinds of score."""
    result = {}
    for kind in KINDS:
        scores = pgx_jax.score_subsets(fits, features, advantage, mask=mask, kind=kind)
        affinity = pgx_jax.task_affinity(scores, subsets, reduce="additive")
        labels = pgx_jax.cluster_tasks(np.asarray(affinity), PLANTED).labels
        result[kind] = {
            "scores": np.asarray(scores),
            "affinity": np.asarray(affinity),
            "labels": labels,
        }
    return result


def agreement(found: dict, oracle: dict, subsets: Any) -> dict[str, float]:
    """How near a draw comes to the oracle."""
    held = np.asarray(subsets)
    ranks = [
        spearmanr(found["scores"][held[:, task], task], oracle["scores"][held[:, task], task])[0]
        for task in range(held.shape[1])
    ]
    pairs = np.triu_indices(held.shape[1], 1)
    affinity = np.corrcoef(found["affinity"][pairs], oracle["affinity"][pairs])[0, 1]
    return {
        "score_rank_correlation": float(np.mean(ranks)),
        "affinity_correlation": float(affinity),
        "groups_ari": float(adjusted_rand_score(oracle["labels"], found["labels"])),
    }


if __name__ == "__main__":
    main()
