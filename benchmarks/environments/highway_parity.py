"""EnvPool's highway-fast-v0 against highway-env's: same state, same actions.

Run: python benchmarks/environments/highway_parity.py --json benchmarks/results/highway_parity.json

highway-env is put into the state that EnvPool reset to (EnvPool shows all of it), both take the
same actions until the episode ends, and observations, rewards and crashes are compared.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import envpool
import numpy as np
from scipy import stats

from pgx_jax.diagnostics import mean_interval
from pgx_jax.envs.highway import (
    DIFFERENCES,
    UNMODIFIED,
    HighwayMaker,
    envpool_config,
    highway_parameters,
)
from pgx_jax.experiments.provenance import write_results

OBSERVATION_TOLERANCE, REWARD_TOLERANCE = 1e-6, 1e-6
STEPS = 30
POLICIES: dict[str, int | None] = {
    "IDLE": 1,
    "FASTER": 3,
    "SLOWER": 4,
    "LANE_LEFT": 0,
    "random": None,
}


class Episode(NamedTuple):
    """One episode from the same state in both simulators, EnvPool's values first.

    Attributes:
        cause: why they parted: "lane choice", "other", or None where they agree to the end.
        agreed_steps: steps until then.
        observation_error: largest difference while they agreed.
        reward_error: likewise.
        returns, crashed, lengths, speeds: of the whole episode in each.
    """

    cause: str | None
    agreed_steps: int
    observation_error: float
    reward_error: float
    returns: tuple[float, float]
    crashed: tuple[bool, bool]
    lengths: tuple[int, int]
    speeds: tuple[float, float]


def place(environment: Any, state: Any) -> None:
    """Put highway-env into EnvPool's state."""
    for vehicle, given in zip(environment.road.vehicles, state.vehicles, strict=True):
        vehicle.position = np.array([given.x, given.y])
        vehicle.heading, vehicle.speed = given.heading, given.speed
        vehicle.target_lane_index = ("0", "1", given.target_lane_index)
        vehicle.target_speed = given.target_speed
        vehicle.crashed, vehicle.impact = given.crashed, None
        vehicle.on_state_update()
        if vehicle is environment.vehicle:
            vehicle.speed_index = given.speed_index
        else:
            vehicle.timer, vehicle.DELTA = given.timer, given.idm_delta


def choose_left(environment: Any) -> None:
    """Let highway-env's vehicles go left where both sides pay, as EnvPool's do."""
    network = environment.road.network
    side_lanes = network.side_lanes
    # Of the lanes that pay it takes the last one that it looks at.
    network.side_lanes = lambda index: side_lanes(index)[::-1]


def compare_episodes(
    task: dict[str, float],
    actions: np.ndarray,
    *,
    seed: int,
    same_choice: bool = False,
) -> list[Episode]:
    """Episodes under actions int[30, episodes] in both simulators."""
    count = actions.shape[1]
    pool: Any = envpool.make_gymnasium(
        "HighwayFast-v0",
        num_envs=count,
        seed=list(range(seed, seed + count)),
        num_threads=1,
        **envpool_config({**UNMODIFIED, **task}),
    )
    observation, _ = pool.reset()
    states, log = pool.debug_states(), []
    first = observation.copy()
    for action in actions:
        result = pool.step(action)
        log.append(([np.copy(part) for part in result[:4]], result[4], pool.debug_states()))
    pool.close()
    environment = HighwayMaker(task)()
    base: Any = environment.unwrapped
    episodes = []
    for index in range(count):
        environment.reset(seed=0)
        place(base, states[index])
        start = base.observation_type.observe()
        assert np.abs(start - first[index]).max() < 1e-6, "the state was not reproduced"
        if same_choice:
            choose_left(base)
        episodes.append(_episode(environment, index, actions[:, index], log))
    environment.close()
    return episodes


def _episode(environment: Any, index: int, actions: np.ndarray, log: list) -> Episode:
    vehicles = environment.unwrapped.road.vehicles
    totals, lengths, speeds = [0.0, 0.0], [0, 0], [0.0, 0.0]
    crashed, running = [False, False], [True, True]
    cause, agreed, errors = None, 0, [0.0, 0.0]
    for action, (result, info, states) in zip(actions, log, strict=True):
        theirs: Any = None
        if running[0]:
            reward, terminated, truncated = (part[index] for part in result[1:])
            crashed[0] = bool(info["crashed"][index])
            running[0] = not (terminated or truncated)
            totals[0] += float(reward)
            lengths[0] += 1
            speeds[0] += float(info["speed"][index])
        if running[1]:
            theirs = environment.step(int(action))
            crashed[1] = bool(theirs[4]["crashed"])
            running[1] = not (theirs[2] or theirs[3])
            totals[1] += float(theirs[1])
            lengths[1] += 1
            speeds[1] += float(theirs[4]["speed"])
        if cause is None and theirs is not None:
            found = (
                float(np.abs(theirs[0] - result[0][index]).max()),
                abs(float(theirs[1]) - float(result[1][index])),
            )
            same_end = running[0] == running[1] and crashed[0] == crashed[1]
            if found[0] > OBSERVATION_TOLERANCE or found[1] > REWARD_TOLERANCE or not same_end:
                targets = zip(vehicles[1:], states[index].vehicles[1:], strict=True)
                lanes = any(
                    vehicle.target_lane_index[2] != given.target_lane_index
                    for vehicle, given in targets
                )
                cause = "lane choice" if lanes else "other"
            else:
                agreed += 1
                errors = [max(pair) for pair in zip(errors, found, strict=True)]
        if not any(running):
            break
    return Episode(
        cause,
        agreed,
        errors[0],
        errors[1],
        (totals[0], totals[1]),
        (crashed[0], crashed[1]),
        (lengths[0], lengths[1]),
        (speeds[0] / lengths[0], speeds[1] / lengths[1]),
    )


def draw_actions(action: int | None, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """Actions int[30, episodes] of a fixed policy; None is random."""
    if action is None:
        return rng.integers(0, 5, (STEPS, episodes))
    return np.full((STEPS, episodes), action)


def agreement(episodes: list[Episode]) -> dict[str, Any]:
    """How far the two simulators agree."""
    causes = [episode.cause for episode in episodes]
    return {
        "episodes": len(episodes),
        "steps": sum(episode.lengths[0] for episode in episodes),
        "agree_to_the_end": causes.count(None),
        "part_by_lane_choice": causes.count("lane choice"),
        "part_otherwise": causes.count("other"),
        "agreed_steps": sum(episode.agreed_steps for episode in episodes),
        "largest_observation_error": max(episode.observation_error for episode in episodes),
        "largest_reward_error": max(episode.reward_error for episode in episodes),
    }


def outcomes(episodes: list[Episode]) -> dict[str, Any]:
    """Means over whole episodes in each simulator, and of the paired differences."""
    columns = {
        "return": [episode.returns for episode in episodes],
        "crashed": [episode.crashed for episode in episodes],
        "length": [episode.lengths for episode in episodes],
        "speed": [episode.speeds for episode in episodes],
    }
    summary = {}
    for name, pairs in columns.items():
        ours, theirs = np.array(pairs, float).T
        summary[name] = {
            "envpool": mean_interval(list(ours)),
            "highway_env": mean_interval(list(theirs)),
            "difference": mean_interval(list(ours - theirs)),
        }
    return summary


def compare_starts(count: int) -> dict[str, Any]:
    """First states of both, each by its own random numbers: means and Kolmogorov-Smirnov tests."""
    pool: Any = envpool.make_gymnasium(
        "HighwayFast-v0",
        num_envs=count,
        seed=list(range(count)),
        num_threads=1,
        **envpool_config(UNMODIFIED),
    )
    pool.reset()
    ours = [
        [(car.x, car.speed, car.lane_index, car.idm_delta) for car in state.vehicles]
        for state in pool.debug_states()
    ]
    pool.close()
    environment = HighwayMaker({})()
    base: Any = environment.unwrapped
    theirs = []
    for seed in range(count):
        environment.reset(seed=seed)
        theirs.append(
            [
                (car.position[0], car.speed, car.lane_index[2], getattr(car, "DELTA", 4.0))
                for car in base.road.vehicles
            ]
        )
    environment.close()
    samples = []
    for states in (ours, theirs):
        values = np.array(states)
        samples.append(
            {
                "first_position": values[:, 0, 0],
                "gap": np.diff(values[..., 0], axis=1).ravel(),
                "other_speed": values[:, 1:, 1].ravel(),
                "lane": values[..., 2].ravel(),
                "idm_exponent": values[:, 1:, 3].ravel(),
            }
        )
    return {
        name: {
            "envpool": float(samples[0][name].mean()),
            "highway_env": float(samples[1][name].mean()),
            "p_value": float(stats.ks_2samp(samples[0][name], samples[1][name]).pvalue),
        }
        for name in samples[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=100, help="per fixed policy")
    parser.add_argument("--task-episodes", type=int, default=10, help="per source task")
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "tolerance": {"observation": OBSERVATION_TOLERANCE, "reward": REWARD_TOLERANCE},
        "known_differences": DIFFERENCES,
        "starts": compare_starts(options.starts),
        "policies": {},
    }
    print(results["starts"])
    rng = np.random.default_rng(0)
    equalised = []
    for name, action in POLICIES.items():
        actions = draw_actions(action, options.episodes, rng)
        episodes = compare_episodes({}, actions, seed=0)
        some = actions[:, : max(1, options.episodes // 5)]
        equalised += compare_episodes({}, some, seed=0, same_choice=True)
        results["policies"][name] = {**agreement(episodes), **outcomes(episodes)}
        print(name, results["policies"][name])
    as_they_are = []
    for number, task in enumerate(highway_parameters(0, 10)):
        actions = draw_actions(None, options.task_episodes, rng)
        as_they_are += compare_episodes(task, actions, seed=1000 * number)
        equalised += compare_episodes(task, actions, seed=1000 * number, same_choice=True)
    results["source_tasks"] = agreement(as_they_are)
    results["same_lane_choice"] = agreement(equalised)
    print(results["source_tasks"], results["same_lane_choice"], sep="\n")
    if options.json:
        write_results(options.json, results)


if __name__ == "__main__":
    main()
