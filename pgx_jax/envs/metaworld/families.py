"""Meta-World's MT10 and MT50 as task families, on EnvPool or on the ``metaworld`` package.

Rewards are Meta-World's V2, goals are observed, an episode lasts 500 steps and counts as a
success if any of its steps does.

Differences from MT10 and MT50 as ``metaworld`` 3.1.1 makes them:

1. The 50 goals of a task are drawn by EnvPool's generator (the C++ library's Mersenne Twister, one
   seed a goal) over the ranges and with the least distances of Meta-World, not by
   ``metaworld.MT10``: EnvPool takes seeds, no goals. Both backends have the same goals.
2. EnvPool draws a new goal at every reset of its own. To stay with the 50, its environments are
   made anew, all together, in the step after every episode's last; that step is masked.
3. Every episode draws its goal from the task's 50 by its environment's own key.
4. Observations are shifted and scaled by fixed constants (``encode``), the previous frame becomes
   the change since, and the task's one-hot vector is appended.
5. A task beyond the benchmark's own (MT10 with more than 10) is the next of MT50's list.
6. Held-out tasks are Meta-World's tasks with one goal each that is not among the 50; they keep
   the one-hot vector of their task. Meta-World's MT benchmarks have none.

Differences between the backends, from the same goal under the expert's actions in all of MT10
(benchmarks/results/metaworld_parity.json; the experts' success is the same):

1. EnvPool is a build of its own of the same simulator, and contacts amplify rounding. Over 150
   steps the median difference of observations is 0.025 or less (peg-insert-side; 0.004 or less
   elsewhere) and that of rewards 1e-5 or less; rewards that jump at a threshold differ by more
   than 0.1 in 7 % of the steps of button-press-topdown and in 1 % or less of the others.
2. ``metaworld`` resets in two passes, EnvPool in one: a resting object, or the hand, starts up to
   5e-4 elsewhere (in lever-pull the lever's quaternion differs by 0.25).
3. ``metaworld`` returns the first observation of window-close with the handle where it was
   before the window was opened, 0.2 m away; EnvPool returns it where it is.
4. Rewards of pick-place differ by up to 0.08 of 10 on the way to the object.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pgx_jax.envs.base import Box, TaskFamily
from pgx_jax.envs.host.calls import HostBatch, HostStep
from pgx_jax.envs.host.environment import HostEnvironment, HostTasks
from pgx_jax.envs.metaworld.tasks import MT10, MT50

GOALS_PER_TASK = 50
EPISODE_STEPS = 500
OBSERVATION_SIZE = 39
ACTION_SIZE = 4

_FRAME = 18
# One frame: hand position (m), gripper opening (0..1), then two objects: position (m), quaternion.
# Means and deviations of the experts' first 150 steps in MT50, rounded.
_CENTRE = np.array([0, 0.7, 0.15, 0.6, *(0, 0.7, 0.15, 0, 0, 0, 0), *np.zeros(7)], np.float32)
_SPREAD = np.array([*(0.1,) * 3, 0.3, *((0.1,) * 3 + (0.5,) * 4) * 2], np.float32)
# What a frame changes by in one step: the hand moves 0.01 m at most.
_CHANGE = np.array([*(0.01,) * 3, 0.03, *((0.01,) * 3 + (0.03,) * 4) * 2], np.float32)
_GOAL_CENTRE, _GOAL_SPREAD = _CENTRE[:3], _SPREAD[:3]
_BACKENDS = ("envpool", "metaworld")


class Goals(NamedTuple):
    """Rows of a family's table of tasks.

    Attributes:
        environment: Meta-World's name, such as "reach-v3".
        position: place of the task's one in the one-hot vector.
        seeds: int64[goals], one seed a goal.
    """

    environment: str
    position: int
    seeds: np.ndarray


def metaworld_mt10(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """MT10: ten tasks with 50 goals each; a policy is judged by success.

    Args:
        num_tasks: n, the first n of MT10, then of the rest of MT50; at most 50.
        num_test_tasks: held-out tasks: source tasks in turn, each with a new goal.
        seed: of the goals.
        backend: "envpool" (the default) or "metaworld".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend, or more tasks than there are.
        ImportError: the backend's package is missing.
    """
    others = tuple(name for name in MT50 if name not in MT10)
    return metaworld_family(
        "metaworld-mt10", (*MT10, *others), num_tasks, num_test_tasks, seed, backend=backend
    )


def metaworld_mt50(
    num_tasks: int = 50, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """MT50: fifty tasks with 50 goals each; a policy is judged by success.

    Args:
        num_tasks: n, the first n of MT50; at most 50.
        num_test_tasks: held-out tasks: source tasks in turn, each with a new goal.
        seed: of the goals.
        backend: "envpool" (the default) or "metaworld".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend, or more tasks than there are.
        ImportError: the backend's package is missing.
    """
    return metaworld_family(
        "metaworld-mt50", MT50, num_tasks, num_test_tasks, seed, backend=backend
    )


def metaworld_family(
    name: str,
    environments: Sequence[str],
    num_tasks: int,
    num_test_tasks: int = 50,
    seed: int = 0,
    *,
    backend: str | None = None,
) -> TaskFamily:
    """A family of the first ``num_tasks`` of the given Meta-World environments.

    Args:
        name: of the family.
        environments: Meta-World's names, such as "reach-v3".
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks: source tasks in turn, each with a new goal.
        seed: of the goals.
        backend: "envpool" (the default) or "metaworld".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend, or more tasks than there are.
        ImportError: the backend's package is missing.
    """
    backend = backend or _BACKENDS[0]
    if backend not in _BACKENDS:
        raise ValueError(f'unknown backend "{backend}"; known: {", ".join(_BACKENDS)}')
    if not 1 <= num_tasks <= len(environments):
        raise ValueError(
            f"num_tasks is {num_tasks}; {name} has 1 to {len(environments)} tasks, one for each "
            "environment"
        )
    source = environments[:num_tasks]
    table = goal_table(source, num_test_tasks, seed)
    names = [
        *source,
        *(f"{row.environment} goal {row.seeds[0]}" for row in table[num_tasks:]),
    ]
    make_raw = backend_maker(backend)

    def make_batch(tasks: np.ndarray) -> GoalBatch:
        rows = [table[task] for task in tasks]
        return GoalBatch(make_raw([row.environment for row in rows]), rows, num_tasks)

    environment = HostEnvironment(
        name,
        make_batch,
        observation_shape=(OBSERVATION_SIZE + num_tasks,),
        action_space=Box(ACTION_SIZE),
        max_episode_steps=EPISODE_STEPS,
        task_names=names,
        backend=backend,
        info_names=("success",),
        resets_in_step=False,
        # One step in 501 makes all environments anew.
        time_limit=600.0,
        # A simulator takes some 25 MB, and 200 score a batch of subsets: those of one rollout and
        # of another beside it are enough.
        max_batches=2,
    )
    return TaskFamily(
        name=name,
        environment=environment,
        train_tasks=HostTasks(np.arange(num_tasks, dtype=np.int32)),
        test_tasks=HostTasks(np.arange(num_tasks, len(table), dtype=np.int32)),
        train_names=tuple(source),
        description=f"Meta-World: {num_tasks} tasks, {GOALS_PER_TASK} goals each, observed",
        metric="success",
        notes=(
            f"backend {backend}",
            "V2 rewards",
            "goals in the observation",
            "success: at any step of an episode",
        ),
        experts=_demonstrate,
        render=partial(_render, table, num_tasks),
        close=environment.close,
    )


def _demonstrate(*arguments: Any, **options: Any) -> Any:
    from pgx_jax.envs.metaworld.experts import demonstrate

    return demonstrate(*arguments, **options)


def _render(
    table: Sequence[Goals],
    num_tasks: int,
    task: int,
    act: Callable[[np.ndarray], np.ndarray],
    num_frames: int,
) -> np.ndarray:
    """Frames of the ``metaworld`` package, whatever the backend."""
    from pgx_jax.envs.metaworld.frames import record_episode

    row = table[task]
    one_hot = np.eye(num_tasks, dtype=np.float32)[row.position]
    return record_episode(row.environment, int(row.seeds[0]), one_hot, act, num_frames)


def goal_table(environments: Sequence[str], num_test_tasks: int, seed: int) -> list[Goals]:
    """Goals of the source tasks, then of the held-out tasks.

    Args:
        environments: source tasks, Meta-World's names.
        num_test_tasks: held-out tasks: source tasks in turn, each with a new goal.
        seed: of the goals; those of a task do not depend on the other tasks.

    Returns:
        One row a task.
    """
    rounds = -(-num_test_tasks // len(environments))
    seeds = []
    for environment in environments:
        rng = np.random.default_rng([seed, MT50.index(environment)])
        seeds.append(rng.integers(2**31, size=GOALS_PER_TASK + rounds))
    source = [
        Goals(environment, position, seeds[position][:GOALS_PER_TASK])
        for position, environment in enumerate(environments)
    ]
    held_out = []
    for index in range(num_test_tasks):
        number, position = divmod(index, len(environments))
        goal = seeds[position][GOALS_PER_TASK + number :][:1]
        held_out.append(Goals(environments[position], position, goal))
    return [*source, *held_out]


def encode(observation: np.ndarray) -> np.ndarray:
    """Meta-World's observations as policies see them, without the one-hot vector.

    Args:
        observation: float[..., 39]: frame, previous frame, goal; metres, shares and quaternions.

    Returns:
        float32[..., 39]: frame and goal less a centre over a spread, and between them the change
        since the previous frame over what a step can change.
    """
    now, before = observation[..., :_FRAME], observation[..., _FRAME : 2 * _FRAME]
    goal = observation[..., 2 * _FRAME :]
    parts = [
        (now - _CENTRE) / _SPREAD,
        (now - before) / _CHANGE,
        (goal - _GOAL_CENTRE) / _GOAL_SPREAD,
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def decode(observation: Any) -> np.ndarray:
    """The inverse of :func:`encode`, up to float32's rounding.

    Args:
        observation: float[..., 39 or more]; a one-hot vector at the end is left out.

    Returns:
        float32[..., 39] as Meta-World returns it.
    """
    observation = np.asarray(observation)
    now = observation[..., :_FRAME] * _SPREAD + _CENTRE
    before = now - observation[..., _FRAME : 2 * _FRAME] * _CHANGE
    goal = observation[..., 2 * _FRAME : OBSERVATION_SIZE] * _GOAL_SPREAD + _GOAL_CENTRE
    return np.concatenate([now, before, goal], axis=-1).astype(np.float32)


class GoalBatch:
    """B Meta-World environments that meet the goals of their tasks.

    Around a batch of either backend, whose ``reset`` takes one goal's seed an environment.
    """

    def __init__(self, raw: HostBatch, rows: Sequence[Goals], num_tasks: int) -> None:
        """Wrap a batch.

        Args:
            raw: the backend's environments.
            rows: each environment's task.
            num_tasks: length of the one-hot vector.
        """
        self._raw, self._rows = raw, rows
        self._one_hot = np.eye(num_tasks, dtype=np.float32)[[row.position for row in rows]]
        self._generators: list[np.random.Generator] = []
        self._ended = False

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes; the seeds decide the goals of this episode and of the next ones."""
        self._generators = [np.random.default_rng(int(seed)) for seed in seeds]
        return self._start()

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments; the step after their episodes' last resets them all."""
        if self._ended:
            nothing = np.zeros(len(self._rows), np.float32)
            never = nothing.astype(bool)
            observation = self._start()
            return HostStep(
                observation, nothing, never, never, valid=never, info={"success": nothing}
            )
        step = self._raw.step(action)
        self._ended = bool(step.truncated.any())
        if self._ended and not step.truncated.all():
            raise RuntimeError("episodes of Meta-World did not end together")
        return step._replace(observation=self._encode(step.observation), valid=None)

    def close(self) -> None:
        """Free the environments."""
        self._raw.close()

    def where(self) -> int | None:
        """Index of the environment that is stepping right now, where that can be told."""
        return self._raw.where()

    def _start(self) -> np.ndarray:
        self._ended = False
        pairs = zip(self._generators, self._rows, strict=True)
        goals = np.array([own.choice(row.seeds) for own, row in pairs])
        return self._encode(self._raw.reset(goals))

    def _encode(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([encode(observation), self._one_hot], axis=-1)


def backend_maker(backend: str) -> Callable[[Sequence[str]], HostBatch]:
    """Makes a backend's environments, which observe in Meta-World's units.

    Args:
        backend: "envpool" or "metaworld".

    Returns:
        ``environments -> batch``: Meta-World's names, such as "reach-v3", to one environment each.
        The batch's ``reset`` takes int64[B] seeds of goals; equal seeds are equal goals on both
        backends.

    Raises:
        ImportError: the backend's package is missing.
    """
    if backend == "metaworld":
        from pgx_jax.envs.metaworld.package import MetaWorldBatch

        return MetaWorldBatch
    from pgx_jax.envs.host.envpool_batch import EnvPoolBatch

    configs = [
        (
            f"MetaWorld/{envpool_name(name)}",
            {"max_episode_steps": EPISODE_STEPS, "partially_observable": False},
        )
        for name in MT50
    ]

    def make(environments: Sequence[str]) -> HostBatch:
        rows = np.array([MT50.index(name) for name in environments])
        return EnvPoolBatch(rows, configs, info_names=("success",))

    return make


def envpool_name(environment: str) -> str:
    """EnvPool's name: "ButtonPress-v3" for "button-press-v3"."""
    name, version = environment.rsplit("-", 1)
    return "".join(part.capitalize() for part in name.split("-")) + f"-{version}"
