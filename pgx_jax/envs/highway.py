"""highway-fast-v0 with varied traffic, lanes and reward: EnvPool's port, or highway-env itself."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from pgx_jax.envs.base import Discrete, TaskFamily
from pgx_jax.envs.frames import record_frames
from pgx_jax.envs.host.environment import HostBatch, HostEnvironment, HostTasks
from pgx_jax.envs.presets import SMOKE, Presets

PRESETS: Presets = {
    "smoke": {
        **SMOKE,
        "ppo": {"num_envs": 40, "num_steps": 32},
        "meta_steps": 20_000,
        "group_steps": 10_000,
    },
    "default": {
        "ppo": {
            "num_epochs": 8,
            "num_minibatches": 32,
            "learning_rate": 2e-3,
            "discount": 0.92,
            "gae_lambda": 0.95,
            "entropy_coefficient": 0.01,
        },
        "meta_steps": 2_000_000,
        "num_steps": 4096,
        "group_steps": 2_000_000,
    },
}
"""Settings of runs; see ``pgx_jax.envs.presets``."""

RANGES = {
    "vehicles_density": (0.6, 1.2),
    "vehicles_count": (10, 30),
    "lanes_count": (3, 5),
    "slow": (20.0, 24.0),
    "fast": (26.0, 30.0),
    "total_weight": (0.5, 1.5),
    "speed_share": (0.05, 0.95),
}
"""Uniform, the two counts over whole numbers, both ends included.

``slow`` and ``fast``, in m/s, are the ends of the reward's speed range. The weights of speed and
right lane add up to ``total_weight``, ``speed_share`` of which is speed's; a collision costs 1.
Density and lanes keep to what can be survived: the ego vehicle cannot go slower than 20 m/s, so
that on two lanes at density 1.4 even always SLOWER crashes in 96 % of the episodes.
"""

SLOW_SHARE = 0.4
"""Share of tasks whose speed reward falls with the speed: full at ``slow``, none at ``fast``."""

UNMODIFIED: dict[str, float] = {
    "vehicles_density": 1.0,
    "vehicles_count": 20,
    "lanes_count": 3,
    "reward_speed_low": 20.0,
    "reward_speed_high": 30.0,
    "high_speed_reward": 0.4,
    "right_lane_reward": 0.1,
}
"""What a task may set, with the values of highway-fast-v0."""

DIFFERENCES = (
    "where a lane change to either side would pay, EnvPool's other vehicles go left, "
    "highway-env's go right",
    "the two draw their random numbers differently: equal seeds do not start equal episodes",
)
"""How EnvPool's highway differs from highway-env's (benchmarks/environments/highway_parity.py)."""

_MAX_STEPS = 30
_OBSERVED_VEHICLES = 5
_NUM_FEATURES = 5
_NUM_ACTIONS = 5
_COUNTS = ("vehicles_count", "lanes_count")
# Equal in both simulators, and said to both: neither is left to its defaults.
_FIXED = {
    "duration": _MAX_STEPS,
    "simulation_frequency": 5,
    "policy_frequency": 1,
    "ego_spacing": 1.5,
    "collision_reward": -1.0,
    "lane_change_reward": 0.0,
    "normalize_reward": True,
    "offroad_terminal": False,
}
_BACKENDS = ("envpool", "highway-env", "highway-env-async")


def highway_parameters(seed: int, num_tasks: int) -> list[dict[str, float]]:
    """Parameters of tasks drawn from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        One dict a task, with the keys of ``UNMODIFIED``.
    """
    rng = np.random.default_rng(seed)
    tasks = []
    for *unit, coin in rng.random((num_tasks, len(RANGES) + 1)):
        task: dict[str, float] = {}
        for share, (name, (low, high)) in zip(unit, RANGES.items(), strict=True):
            if name in _COUNTS:
                task[name] = int(low + share * (high - low + 1))
            else:
                task[name] = float(low + share * (high - low))
        ends = [task.pop("slow"), task.pop("fast")]
        if coin < SLOW_SHARE:
            ends.reverse()
        weight, share = task.pop("total_weight"), task.pop("speed_share")
        task.update(
            reward_speed_low=ends[0],
            reward_speed_high=ends[1],
            high_speed_reward=weight * share,
            right_lane_reward=weight * (1.0 - share),
        )
        tasks.append(task)
    return tasks


def highway(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """highway-fast-v0 with traffic, lanes and reward drawn from ``RANGES`` and ``SLOW_SHARE``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "envpool" (the default), "highway-env" (in this process) or "highway-env-async".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: EnvPool or highway-env is missing.
    """
    source = highway_parameters(2 * seed, num_tasks)
    held_out = highway_parameters(2 * seed + 1, num_test_tasks)
    return highway_family("highway", source, held_out, backend=backend)


def highway_family(
    name: str,
    source: list[dict[str, float]],
    held_out: list[dict[str, float]],
    *,
    backend: str | None = None,
) -> TaskFamily:
    """A highway family of given tasks.

    A step's reward is at most 1 and an episode has 30 steps at most: its return is at most 30.
    An episode's "crashed" is 1 where the ego vehicle crashed, else 0.

    Args:
        name: of the family.
        source: parameters of the source tasks, keys of ``UNMODIFIED``; {} is highway-fast-v0.
        held_out: parameters of the held-out tasks.
        backend: "envpool" (the default), "highway-env" (in this process) or "highway-env-async".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend or parameter, or one outside its range.
        ImportError: EnvPool or highway-env is missing.
    """
    backend = backend or "envpool"
    if backend not in _BACKENDS:
        raise ValueError(f'unknown backend "{backend}"; known: {", ".join(_BACKENDS)}')
    given = [*source, *held_out]
    table = [_completed(task) for task in given]
    names = [task_name(index, task) for index, task in enumerate(given, 1)]
    uses_envpool = backend == "envpool"
    environment = HostEnvironment(
        "highway-fast-v0",
        _envpool_batches(table) if uses_envpool else _highway_env_batches(table, names, backend),
        observation_shape=(_OBSERVED_VEHICLES, _NUM_FEATURES),
        action_space=Discrete(_NUM_ACTIONS),
        max_episode_steps=_MAX_STEPS,
        task_names=names,
        backend=backend,
        info_names=("crashed",),
        resets_in_step=not uses_envpool,
    )
    count = len(source)
    package = "envpool" if uses_envpool else "highway-env"
    return TaskFamily(
        name=name,
        environment=environment,
        train_tasks=HostTasks(np.arange(count, dtype=np.int32)),
        test_tasks=HostTasks(np.arange(count, len(table), dtype=np.int32)),
        train_names=tuple(names[:count]),
        description="highway-fast-v0: "
        + ", ".join(
            f"{key} U{{{low}..{high}}}" if key in _COUNTS else f"{key} U[{low:g}, {high:g}]"
            for key, (low, high) in RANGES.items()
        )
        + f"; slow pays in {SLOW_SHARE:.0%} of the tasks, fast in the others",
        notes=(
            f"backend {backend} ({package} {version(package)})",
            *(DIFFERENCES if uses_envpool else ()),
        ),
        render=lambda task, act, num_frames: record_frames(
            HighwayMaker(table[task], "rgb_array")(), act, num_frames
        ),
        close=environment.close,
    )


class HighwayMaker:
    """Makes one highway-env environment with a task's parameters; picklable."""

    def __init__(self, task: dict[str, float], render_mode: str | None = None) -> None:
        self._config, self._render_mode = highway_env_config(_completed(task)), render_mode

    def __call__(self) -> Any:
        """A new environment; it truncates episodes itself."""
        _highway_env()
        import gymnasium

        # The checker would warn about the observation space, which highway-env leaves unbounded.
        environment = gymnasium.make(
            "highway-fast-v0",
            config={**self._config, "offscreen_rendering": self._render_mode is not None},
            render_mode=self._render_mode,
            disable_env_checker=True,
        )
        if self._render_mode is not None:
            from highway_env.envs.common.graphics import EnvViewer

            # Without a screen (SDL_VIDEODRIVER=dummy) highway-env would return black frames.
            base: Any = environment.unwrapped
            base.viewer = EnvViewer(base)
            base.viewer.enabled = True
        return environment


def highway_env_config(task: dict[str, float]) -> dict[str, Any]:
    """A task with all parameters as a configuration of highway-env."""
    options = dict(task)
    ends = [options.pop("reward_speed_low"), options.pop("reward_speed_high")]
    return {
        **_FIXED,
        **options,
        "reward_speed_range": ends,
        "initial_lane_id": None,
        "observation": {"type": "Kinematics", "vehicles_count": _OBSERVED_VEHICLES},
        "action": {"type": "DiscreteMetaAction"},
    }


def envpool_config(task: dict[str, float]) -> dict[str, Any]:
    """A task with all parameters as options of EnvPool's HighwayFast-v0."""
    return {
        **_FIXED,
        **task,
        "max_episode_steps": _MAX_STEPS,
        "initial_lane_id": -1,
        "observation_vehicles_count": _OBSERVED_VEHICLES,
        "other_vehicles_check_collisions": False,
    }


def task_name(index: int, task: dict[str, float]) -> str:
    """A short name with the task's parameters, those of highway-fast-v0 where it has none."""
    if not task:
        return f"{index}: unmodified"
    full = {**UNMODIFIED, **task}
    return (
        f"{index}: cars={full['vehicles_count']:g} density={full['vehicles_density']:.2f} "
        f"lanes={full['lanes_count']:g} "
        f"speed={full['reward_speed_low']:.0f}>{full['reward_speed_high']:.0f} "
        f"x{full['high_speed_reward']:.2f} right={full['right_lane_reward']:.2f}"
    )


def _completed(task: dict[str, float]) -> dict[str, float]:
    """All parameters of a task, counts as int, or ValueError."""
    for key in task:
        if key not in UNMODIFIED:
            raise ValueError(f'unknown parameter "{key}"; known: {", ".join(UNMODIFIED)}')
    full = {key: float(value) for key, value in {**UNMODIFIED, **task}.items()}
    for key, value in full.items():
        if not np.isfinite(value) or (key in _COUNTS and value % 1):
            kind = "a whole number" if key in _COUNTS else "finite"
            raise ValueError(f"{key} is {value:g}; it must be {kind}")
        if key in ("vehicles_density", "lanes_count") and value <= 0:
            raise ValueError(f"{key} is {value:g}; it must be above 0")
        # A negative weight would put the normalised reward outside 0..1.
        if key in ("vehicles_count", "high_speed_reward", "right_lane_reward") and value < 0:
            raise ValueError(f"{key} is {value:g}; it must be at least 0")
    if full["reward_speed_low"] == full["reward_speed_high"]:
        raise ValueError("reward_speed_low and reward_speed_high are equal; they must differ")
    return {key: int(value) if key in _COUNTS else value for key, value in full.items()}


def _envpool_batches(table: list[dict[str, float]]) -> Callable[[np.ndarray], HostBatch]:
    from pgx_jax.envs.host.envpool_batch import EnvPoolBatch

    configs = [("HighwayFast-v0", envpool_config(task)) for task in table]

    def terminal(info: dict[str, Any], terminated: np.ndarray) -> np.ndarray:
        # A crash in the last step is reported as the time limit alone.
        return terminated | info["crashed"]

    def make_batch(tasks: np.ndarray) -> EnvPoolBatch:
        return EnvPoolBatch(tasks, configs, info_names=("crashed",), terminal=terminal)

    return make_batch


def _highway_env_batches(
    table: list[dict[str, float]], names: list[str], backend: str
) -> Callable[[np.ndarray], HostBatch]:
    _highway_env()
    from pgx_jax.envs.host.gymnasium_batch import GymnasiumBatch

    def make_batch(tasks: np.ndarray) -> GymnasiumBatch:
        return GymnasiumBatch(
            [HighwayMaker(table[task]) for task in tasks],
            [names[task] for task in tasks],
            vectorization="async" if backend == "highway-env-async" else "sync",
            info_names=("crashed",),
        )

    return make_batch


def _highway_env() -> None:
    """Register highway-env's environments with Gymnasium."""
    try:
        import highway_env  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'this environment needs highway-env: pip install "pgx_jax[highway]"'
        ) from error
