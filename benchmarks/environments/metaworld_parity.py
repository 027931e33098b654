"""Meta-World through our adapter against the `metaworld` package itself, on all MT10 tasks.

Success of the scripted experts in three places with the same goals: a plain loop over `metaworld`,
and our adapter on each backend. Then observations and rewards of the two backends under the same
actions from the same goal.

Run:
  python benchmarks/environments/metaworld_parity.py --json benchmarks/results/metaworld_parity.json
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.metaworld.experts import expert_actions, make_experts
from pgx_jax.envs.metaworld.families import EPISODE_STEPS, backend_maker, metaworld_family
from pgx_jax.envs.metaworld.goals import goal_table
from pgx_jax.envs.metaworld.observation import decode
from pgx_jax.envs.metaworld.package import make_environment, set_goal
from pgx_jax.envs.metaworld.tasks import MT10, MT50
from pgx_jax.experiments.provenance import write_results

BACKENDS = ("envpool", "metaworld")
REPLAY_STEPS, EARLY_STEPS, REPLAY_GOALS = 150, 20, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--episodes", type=int, default=20, help="episodes a task, one goal each")
    parser.add_argument("--mt50", action="store_true", help="all fifty tasks")
    args = parser.parse_args()
    names = MT50 if args.mt50 else MT10

    success = {"metaworld itself": itself(names, args.episodes)}
    for backend in BACKENDS:
        success[f"adapter on {backend}"] = adapter(names, args.episodes, backend)
    agreement = {name: replay(name) for name in names}
    for row, name in enumerate(names):
        shown = "  ".join(f"{place} {values[row]:.2f}" for place, values in success.items())
        print(f"{name:28} {shown}")
        print(" " * 29 + ", ".join(f"{key} {value:.1e}" for key, value in agreement[name].items()))
    gaps = {
        place: max(abs(np.subtract(values, success["metaworld itself"])).tolist())
        for place, values in success.items()
    }
    print("largest gap in success to metaworld itself:", gaps)
    if args.json:
        write_results(
            args.json,
            {
                "what": "experts' success and backends' agreement; V2 rewards, goals observed",
                "episodes": args.episodes,
                "success": {
                    place: dict(zip(names, values, strict=True))
                    for place, values in success.items()
                },
                "largest_gap": gaps,
                "agreement": agreement,
                "agreement_of": f"{REPLAY_GOALS} goals, {REPLAY_STEPS} steps under the expert's "
                f"actions in metaworld, early: the first {EARLY_STEPS}; 39 numbers an observation",
            },
        )


def itself(names: tuple[str, ...], episodes: int) -> list[float]:
    """Success of the experts in `metaworld`, stepped by itself."""
    goals = goal_table(names, len(names) * episodes, seed=0)[len(names) :]
    result = []
    for name in names:
        (expert,) = make_experts([name])
        env, reached = make_environment(name), []
        for row in (row for row in goals if row.environment == name):
            set_goal(env, name, int(row.seeds[0]))
            observation, _ = env.reset()
            best = 0.0
            for _ in range(EPISODE_STEPS):
                action = expert_actions([expert], observation[None])[0]
                observation, _, _, _, info = env.step(action)
                best = max(best, float(info["success"]))
            reached.append(best)
        result.append(float(np.mean(reached)))
    return result


def adapter(names: tuple[str, ...], episodes: int, backend: str) -> list[float]:
    """Success of the experts through the batched protocol, on the same goals."""
    count = len(names)
    family = metaworld_family("parity", names, count, count * episodes, backend=backend)
    environment, tasks = family.environment, family.test_tasks
    experts = make_experts(names * episodes)
    keys = jax.random.split(jax.random.key(0), count * episodes)
    step = environment.step if environment.runs_in_python else jax.jit(environment.step)
    state, observation = environment.reset(keys, tasks)
    best = np.zeros(count * episodes)
    for _ in range(EPISODE_STEPS):
        action = expert_actions(experts, decode(observation))
        state, result = step(keys, state, jnp.asarray(action), tasks)
        environment.check()
        observation = result.observation
        best = np.maximum(best, np.asarray(result.info["success"]))
    environment.close()
    return best.reshape(episodes, count).mean(axis=0).tolist()


def replay(name: str) -> dict[str, float]:
    """Differences between the backends under the same actions from the same goals."""
    first, second = (backend_maker(backend)([name] * REPLAY_GOALS) for backend in BACKENDS)
    seeds = np.arange(REPLAY_GOALS)
    ours, reference = first.reset(seeds), second.reset(seeds)
    experts = make_experts([name] * REPLAY_GOALS)
    start = float(abs(ours - reference).max())
    observations, rewards = [], []
    for _ in range(REPLAY_STEPS):
        action = expert_actions(experts, reference)
        one, other = first.step(action), second.step(action)
        reference = other.observation
        observations.append(abs(one.observation - reference).max(axis=1))
        rewards.append(abs(one.reward - other.reward))
    first.close()
    second.close()
    observation, reward = np.array(observations), np.array(rewards)
    return {
        "observation_start_max": start,
        "observation_early_max": float(observation[:EARLY_STEPS].max()),
        "observation_median": float(np.median(observation)),
        "observation_max": float(observation.max()),
        "reward_early_max": float(reward[:EARLY_STEPS].max()),
        "reward_median": float(np.median(reward)),
        "reward_max": float(reward.max()),
        "reward_share_above_0.1": float((reward > 0.1).mean()),
    }


if __name__ == "__main__":
    main()
