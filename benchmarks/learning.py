"""Does PPO learn each environment with the default preset's settings? Returns over seeds.

Run: python benchmarks/learning.py lunarlander --json benchmarks/results/learning.json

Cases that are in the file already are kept; the ones named are added or replaced.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import mean_interval, provenance

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.families import make_family
from pgx_jax.envs.metaworld.presets import METAWORLD_FROM_SCRATCH
from pgx_jax.experiments.config import RunConfig, config_fields, make_config
from pgx_jax.experiments.training import make_ppo, train
from pgx_jax.rl.algorithms.ppo import PPOConfig
from pgx_jax.rl.cloning import clone
from pgx_jax.rl.evaluation import evaluate


class Case(NamedTuple):
    """What to train on, for how long, and what counts as learnt.

    Attributes:
        environment: whose default preset gives the settings.
        family: makes the tasks.
        env_steps: of training.
        target: least mean of the family's metric over tasks.
        limits: largest mean of other values, by name.
        warm_start: start as a clone of the experts.
        episodes: of the evaluation, a task.
        overrides: settings that differ from the default preset.
    """

    environment: str
    family: Callable[[], TaskFamily]
    env_steps: int
    target: float
    limits: dict[str, float] = {}  # noqa: RUF012 - read only
    warm_start: bool = False
    episodes: int = 64
    overrides: dict[str, Any] = {}  # noqa: RUF012 - read only


def lunarlander() -> TaskFamily:
    from pgx_jax.envs.lunarlander import lunarlander_family

    return lunarlander_family("lunarlander, unmodified", [{}], [{}])


def highway() -> TaskFamily:
    from pgx_jax.envs.highway import highway_family

    return highway_family("highway-fast-v0, unmodified", [{}], [{}])


def metaworld(name: str) -> Callable[[], TaskFamily]:
    def make() -> TaskFamily:
        from pgx_jax.envs.metaworld.families import metaworld_family

        return metaworld_family(name, [name], 1, 1)

    return make


def halfcheetah() -> TaskFamily:
    family = make_family("brax-halfcheetah", num_tasks=1, num_test_tasks=1)
    task = jax.tree.map(lambda leaf: leaf[None], family.environment.default_task)
    return family._replace(train_tasks=task, train_names=("brax's own",))


def mt10() -> TaskFamily:
    return make_family("metaworld-mt10")


CASES = {
    "lunarlander": Case("lunarlander", lunarlander, 1_000_000, 200.0),
    # 80 % of 30, the most that an episode can return.
    "highway": Case("highway", highway, 2_000_000, 24.0, {"crashed": 0.15}, episodes=256),
    **{
        f"metaworld-{name}": Case(
            "metaworld-mt10",
            metaworld(f"{name}-v3"),
            steps,
            0.9,
            episodes=50,
            overrides={"ppo": PPOConfig(**METAWORLD_FROM_SCRATCH), "warm_start": "none"},
        )
        for name, steps in (
            ("reach", 200_000),
            ("drawer-close", 200_000),
            ("window-open", 600_000),
        )
    },
    "brax-halfcheetah": Case("brax-halfcheetah", halfcheetah, 600_000, 1000.0, episodes=16),
    "metaworld-mt10": Case("metaworld-mt10", mt10, 500_000, 0.8, warm_start=True, episodes=20),
}


def learn(case: Case, seed: int) -> dict[str, Any]:
    """Train once and evaluate with the most probable actions."""
    family = case.family()
    config = make_config(case.environment, seed=seed, **case.overrides)
    ppo = make_ppo(family, config, config.hidden_sizes)
    agent_key, clone_key, train_key, test_key = jax.random.split(jax.random.key(seed), 4)
    start = time.perf_counter()
    agent, shown_steps = ppo.init_agent(agent_key), 0
    result: dict[str, Any] = {"seed": seed}
    try:
        if case.warm_start:
            assert family.experts is not None
            shown = family.experts(family, clone_key, num_episodes=config.demonstrations)
            policy, _ = clone(
                ppo.policy,
                agent.policy,
                jax.tree.map(
                    lambda leaf: jnp.asarray(leaf.reshape(-1, leaf.shape[-1])), shown.observation
                ),
                jnp.asarray(shown.action.reshape(-1, shown.action.shape[-1])),
                clone_key,
                num_steps=config.clone_steps,
            )
            agent = agent._replace(policy=policy)
            shown_steps = int(np.prod(np.shape(shown.action)[:-1]))
            result["experts"] = float(np.mean(shown.success))
            result["cloned"] = test(case, family, ppo, agent.policy, test_key)
        updates = max(1, round(case.env_steps / ppo.config.steps_per_update))
        members = np.arange(family.num_tasks)
        trained = train(ppo, agent, family, members, updates, train_key, lambda *_: None)
        result |= {
            "env_steps": int(trained.env_steps[-1]) + shown_steps,
            "wall_seconds": round(time.perf_counter() - start, 1),
            "final": test(case, family, ppo, trained.agent.policy, test_key),
            "curve": [
                [int(steps), None if np.isnan(value) else round(float(value), 3)]
                for steps, value in zip(
                    trained.env_steps[:: max(1, updates // 40)],
                    nanmean(trained.returns)[:: max(1, updates // 40)],
                    strict=True,
                )
            ],
        }
    finally:
        if family.close is not None:
            family.close()
    return result


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over tasks of what was seen; NaN where nothing was."""
    seen = np.isfinite(values)
    total = np.where(seen, values, 0.0).sum(axis=1)
    return np.where(seen.any(axis=1), total / np.maximum(seen.sum(axis=1), 1), np.nan)


def test(case: Case, family: TaskFamily, ppo: Any, policy: Any, key: Any) -> dict[str, Any]:
    found = evaluate(
        ppo.environment,
        ppo.policy,
        policy,
        family.train_tasks,
        jnp.arange(family.num_tasks),
        key,
        num_episodes=case.episodes,
        horizon=ppo.environment.max_episode_steps,
    )
    metric = np.asarray(found.metric(family.metric)).mean(axis=1)
    return {
        family.metric: float(metric.mean()),
        "tasks": dict(zip(family.train_names, map(float, metric), strict=True)),
        "info": {name: float(np.mean(value)) for name, value in found.info.items()},
    }


def run(name: str, seeds: int) -> dict[str, Any]:
    case = CASES[name]
    family = case.family()
    notes, metric = list(family.notes), family.metric
    if family.close is not None:
        family.close()
    rows = []
    for seed in range(seeds):
        rows.append(learn(case, seed))
        print(
            f"{name} seed {seed}: {rows[-1]['final']} in {rows[-1]['wall_seconds']} s", flush=True
        )
    reached = mean_interval([row["final"][metric] for row in rows])
    config: RunConfig = make_config(case.environment, **case.overrides)
    met = reached["mean"] is not None and reached["mean"] >= case.target
    for value, limit in case.limits.items():
        met = met and np.mean([row["final"]["info"][value] for row in rows]) <= limit
    return {
        **provenance(),
        "notes": notes,
        "metric": metric,
        "warm_start": "experts" if case.warm_start else "none",
        "target": case.target,
        "limits": case.limits,
        "reached": reached,
        "met": bool(met),
        "settings": config_fields(config, "ppo", "hidden_sizes"),
        "episodes": case.episodes,
        "seeds": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", choices=CASES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for name in options.cases:
        found[name] = run(name, options.seeds)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
