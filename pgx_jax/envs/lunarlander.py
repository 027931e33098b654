"""LunarLander-v3 with varied gravity, wind, turbulence and engine (Gymnasium, Box2D)."""

import types
from functools import lru_cache
from typing import Any

import numpy as np

from pgx_jax.envs.base import Discrete, TaskFamily
from pgx_jax.envs.frames import record_frames
from pgx_jax.envs.host.environment import HostEnvironment, HostTasks
from pgx_jax.envs.presets import SMOKE, Presets

PRESETS: Presets = {
    "smoke": {
        **SMOKE,
        "ppo": {"num_envs": 20, "num_steps": 64},
        "meta_steps": 10_000,
        "group_steps": 5_000,
    },
    "default": {
        "ppo": {
            "num_envs": 40,
            "num_steps": 256,
            "num_epochs": 4,
            "num_minibatches": 16,
            "learning_rate": 5e-4,
            "discount": 0.999,
            "gae_lambda": 0.98,
            "entropy_coefficient": 0.01,
        },
        "meta_steps": 600_000,
        "num_steps": 4096,
        "score_episodes": 4,
        "group_steps": 1_000_000,
        "eval_episodes": 16,
        "test_episodes": 4,
        "selection_episodes": 2,
    },
}
"""Settings of runs; see ``pgx_jax.envs.presets``."""

RANGES = {
    "gravity": (-11.5, -3.0),
    "wind_power": (0.0, 20.0),
    "turbulence_power": (0.0, 2.0),
    "engine": (0.7, 1.5),
}
"""Uniform, but for ``engine``, which is log-uniform; gravity in Box2D's units (m/s² scaled)."""

_UNMODIFIED = {
    "gravity": -10.0,
    "wind_power": 0.0,
    "turbulence_power": 0.0,
    "engine": 1.0,
    "goal": 0.0,
}
_MAX_STEPS = 1000
_OBSERVATION_SIZE = 8
_NUM_ACTIONS = 4


def lunarlander_parameters(seed: int, num_tasks: int) -> list[dict[str, float]]:
    """Parameters of tasks drawn from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        One dict a task, with the keys of ``RANGES``.
    """
    rng = np.random.default_rng(seed)
    tasks = []
    for unit in rng.random((num_tasks, len(RANGES))):
        task = {}
        for share, (name, (low, high)) in zip(unit, RANGES.items(), strict=True):
            task[name] = float(
                low * (high / low) ** share if name == "engine" else low + (high - low) * share
            )
        tasks.append(task)
    return tasks


def lunarlander(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """LunarLander-v3 with gravity, wind, turbulence and engine drawn from ``RANGES``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "gymnasium" (in this process; the default) or "gymnasium-async".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: gymnasium or Box2D is missing.
    """
    source = lunarlander_parameters(2 * seed, num_tasks)
    held_out = lunarlander_parameters(2 * seed + 1, num_test_tasks)
    return lunarlander_family("lunarlander", source, held_out, backend=backend)


def lunarlander_family(
    name: str,
    source: list[dict[str, float]],
    held_out: list[dict[str, float]],
    *,
    ranges: str = "",
    backend: str | None = None,
) -> TaskFamily:
    """A LunarLander family of given tasks.

    Args:
        name: of the family.
        source: parameters of the source tasks, keys of ``RANGES`` or "goal", the place to land at
            (see ``lunarlander_goal``); {} is LunarLander-v3 itself, and what a task does not name
            is as there (-10, no wind, no turbulence, 1, the pad).
        held_out: parameters of the held-out tasks.
        ranges: for the description; "" tells ``RANGES``.
        backend: "gymnasium" (in this process; the default) or "gymnasium-async".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend or parameter, gravity outside (-12, 0), wind outside
            [0, 20], turbulence outside [0, 2] (Gymnasium's limits), an engine not above 0, or a
            goal outside (-1, 1), where the flight ends.
        ImportError: gymnasium or Box2D is missing.
    """
    from pgx_jax.envs.host.gymnasium_batch import GymnasiumBatch, vectorization_of

    _classes()
    backend = backend or "gymnasium"
    vectorization = vectorization_of(backend)
    table = [*source, *held_out]
    for task in table:
        _check(task)
    names = [task_name(index, task) for index, task in enumerate(table, 1)]

    def make_batch(tasks: np.ndarray) -> GymnasiumBatch:
        return GymnasiumBatch(
            [LunarLanderMaker(table[task]) for task in tasks],
            [names[task] for task in tasks],
            vectorization=vectorization,
        )

    environment = HostEnvironment(
        "LunarLander-v3",
        make_batch,
        observation_shape=(_OBSERVATION_SIZE,),
        action_space=Discrete(_NUM_ACTIONS),
        max_episode_steps=_MAX_STEPS,
        task_names=names,
        backend=backend,
    )
    count = len(source)
    return TaskFamily(
        name=name,
        environment=environment,
        train_tasks=HostTasks(np.arange(count, dtype=np.int32)),
        test_tasks=HostTasks(np.arange(count, len(table), dtype=np.int32)),
        train_names=tuple(names[:count]),
        description=f"Gymnasium LunarLander-v3: {ranges or _describe_ranges()}",
        notes=(f"backend {backend}",),
        render=lambda task, act, num_frames: record_frames(
            LunarLanderMaker(table[task], "rgb_array")(), act, num_frames
        ),
        close=environment.close,
    )


class LunarLanderMaker:
    """Makes one LunarLander with a task's parameters; picklable."""

    def __init__(self, task: dict[str, float], render_mode: str | None = None) -> None:
        self._task, self._render_mode = task, render_mode

    def __call__(self) -> Any:
        """A new environment with its time limit."""
        from gymnasium.wrappers import TimeLimit

        task = {**_UNMODIFIED, **self._task}
        environment = _lander_class(task["engine"])(
            gravity=task["gravity"],
            # Gymnasium's own defaults are a strong wind; it draws random numbers even for none.
            enable_wind=task["wind_power"] > 0 or task["turbulence_power"] > 0,
            wind_power=task["wind_power"],
            turbulence_power=task["turbulence_power"],
            render_mode=self._render_mode,
        )
        if "goal" in self._task:
            from pgx_jax.envs.landing_goal import LandingGoal

            environment = LandingGoal(environment, task["goal"])
        return TimeLimit(environment, _MAX_STEPS)


@lru_cache(maxsize=1)
def _classes() -> Any:
    try:
        from gymnasium.error import DependencyNotInstalled
    except ImportError as error:
        raise ImportError(_MISSING) from error
    try:
        from gymnasium.envs.box2d import lunar_lander
    except (ImportError, DependencyNotInstalled) as error:
        raise ImportError(_MISSING) from error
    return lunar_lander


_MISSING = '"lunarlander" needs Box2D: pip install "pgx_jax[lunarlander]"'


@lru_cache(maxsize=1024)
def _lander_class(engine: float) -> type:
    """LunarLander whose engines are ``engine`` times as strong.

    Gymnasium keeps the powers in module constants, not in parameters: the class gets a ``step``
    that reads constants of its own, so that nothing is changed for other landers.
    """
    module = _classes()
    base = module.LunarLander
    scaled = {
        **vars(module),
        "MAIN_ENGINE_POWER": module.MAIN_ENGINE_POWER * engine,
        "SIDE_ENGINE_POWER": module.SIDE_ENGINE_POWER * engine,
    }
    step = types.FunctionType(
        base.step.__code__, scaled, "step", base.step.__defaults__, base.step.__closure__
    )
    return type("LunarLander", (base,), {"step": step})


def _check(task: dict[str, float]) -> None:
    """Gymnasium asserts its gravity and only warns of the rest, where the tasks have begun."""
    unknown = [name for name in task if name not in _UNMODIFIED]
    if unknown:
        raise ValueError(
            f'LunarLander has no parameter "{unknown[0]}"; known: {", ".join(_UNMODIFIED)}'
        )
    values = {**_UNMODIFIED, **task}
    for name, fits, limits in (
        ("gravity", -12.0 < values["gravity"] < 0.0, "between -12 and 0"),
        ("wind_power", 0.0 <= values["wind_power"] <= 20.0, "from 0 to 20"),
        ("turbulence_power", 0.0 <= values["turbulence_power"] <= 2.0, "from 0 to 2"),
        ("engine", 0.0 < values["engine"] < float("inf"), "above 0"),
        ("goal", -1.0 < values["goal"] < 1.0, "between -1 and 1"),
    ):
        if not fits:
            raise ValueError(f"LunarLander: {name} is {values[name]:g}; it has to be {limits}")


def task_name(index: int, task: dict[str, float]) -> str:
    """A short name with the task's parameters."""
    short = {"gravity": "g", "wind_power": "wind", "turbulence_power": "turb"}
    return f"{index}: " + (
        " ".join(f"{short.get(key, key)}={value:.3g}" for key, value in task.items())
        or "unmodified"
    )


def _describe_ranges() -> str:
    return ", ".join(
        f"{key} {'log-U' if key == 'engine' else 'U'}[{low:g}, {high:g}]"
        for key, (low, high) in RANGES.items()
    )
