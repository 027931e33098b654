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
4. Observations are shifted and scaled by fixed constants (``observation.encode``), and the
   previous frame becomes the change since. The task's one-hot vector is shown beside them.
5. A task beyond the benchmark's own (MT10 with more than 10) is the next of MT50's list.
6. Held-out tasks are Meta-World's tasks with one goal each that is not among the 50; they have
   the identity of their task. Meta-World's MT benchmarks have none.

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
from typing import Any

import numpy as np

from pgx_jax.envs.base import Box, TaskFamily
from pgx_jax.envs.host.calls import HostBatch
from pgx_jax.envs.host.environment import HostEnvironment, HostTasks
from pgx_jax.envs.metaworld.goals import GOALS_PER_TASK, GoalBatch, Goals, goal_table
from pgx_jax.envs.metaworld.observation import ACTION_SIZE, OBSERVATION_SIZE
from pgx_jax.envs.metaworld.tasks import MT10, MT50

EPISODE_STEPS = 500
_BACKENDS = ("envpool", "metaworld")


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
        return GoalBatch(make_raw([row.environment for row in rows]), rows)

    environment = HostEnvironment(
        name,
        make_batch,
        observation_shape=(OBSERVATION_SIZE,),
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
        render=partial(_render, table),
        close=environment.close,
        default_identity="one_hot",
        test_identity=np.array([row.position for row in table[num_tasks:]], int),
    )


def _demonstrate(*args: Any, **options: Any) -> Any:
    from pgx_jax.envs.metaworld.experts import demonstrate

    return demonstrate(*args, **options)


def _render(
    table: Sequence[Goals], task: int, act: Callable[[np.ndarray], np.ndarray], num_frames: int
) -> np.ndarray:
    """Frames of the ``metaworld`` package, whatever the backend."""
    from pgx_jax.envs.metaworld.frames import record_episode

    row = table[task]
    return record_episode(row.environment, int(row.seeds[0]), act, num_frames)


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
