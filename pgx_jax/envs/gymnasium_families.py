"""Task families over any Gymnasium environment: a task is its keyword arguments."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.frames import record_frames
from pgx_jax.envs.host.environment import HostEnvironment, HostTasks
from pgx_jax.envs.parameters import Range, TaskFile, draw_tasks


def gymnasium_family(
    name: str,
    ranges: Mapping[str, Range] | TaskFile,
    *,
    num_tasks: int = 10,
    num_test_tasks: int = 50,
    seed: int = 0,
    backend: str | None = None,
    max_episode_steps: int | None = None,
    info_names: tuple[str, ...] = (),
    metric: str = "return",
) -> TaskFamily:
    """Tasks of a registered Gymnasium environment that differ in its keyword arguments.

    Observations are a Box and actions Discrete or a bounded Box, of the same shape in all tasks.
    A range without a scale is of integers where the argument is annotated so, or where it has no
    annotation and its default and both bounds are written as integers.

    Args:
        name: Gymnasium's id, also ``module:Name-v0``; also one that the task file registers.
        ranges: what varies, by keyword argument; or a task file.
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks, drawn alike.
        seed: of the tasks.
        backend: "gymnasium" (in this process; the default) or "gymnasium-async".
        max_episode_steps: episode limit; None takes the task file's, or else the registered one.
        info_names: values of ``info`` to carry; () takes the task file's.
        metric: "return", or the one of ``info_names`` that a policy is judged by.

    Returns:
        The family, named "gymnasium:ID".

    Raises:
        ValueError: an unknown id, argument or backend (the nearest one is suggested), nothing
            that varies, values that do not fit, no episode limit, or unsupported spaces.
        ImportError: gymnasium, or a package that the environment needs, is missing.
    """
    from pgx_jax.envs.host.gymnasium_batch import GymnasiumBatch, vectorization_of
    from pgx_jax.envs.host.gymnasium_maker import GymnasiumMaker, find_spec, gymnasium_parameters

    backend = backend or "gymnasium"
    vectorization = vectorization_of(backend)
    file = ranges.path if isinstance(ranges, TaskFile) else None
    if isinstance(ranges, TaskFile):
        max_episode_steps = max_episode_steps or ranges.max_episode_steps
        info_names = info_names or ranges.info_names
        metric = ranges.metric if metric == "return" else metric
    if metric not in ("return", *info_names):
        raise ValueError(f'metric "{metric}" is neither "return" nor one of info_names')
    spec = find_spec(name)
    what = f'Gymnasium environment "{name}"'
    parameters, takes_others = gymnasium_parameters(spec)
    table = draw_tasks(
        what,
        ranges,
        parameters,
        num_tasks=num_tasks,
        num_test_tasks=num_test_tasks,
        seed=seed,
        takes_others=takes_others,
    )
    rows = table.source + table.held_out

    def maker(options: Mapping[str, Any], **form: Any) -> GymnasiumMaker:
        return GymnasiumMaker(
            spec,
            options,
            task_file=file,
            max_episode_steps=max_episode_steps,
            info_names=info_names,
            **form,
        )

    probe = maker(rows[0])()
    form = probe.form
    limit = probe.spec.max_episode_steps if probe.spec is not None else None
    draws = "rgb_array" in probe.metadata.get("render_modes", ())
    probe.close()
    if not limit or limit < 1:
        raise ValueError(
            f"{what} has no episode limit; give max_episode_steps, here or in the task file"
        )

    def make_batch(tasks: np.ndarray) -> GymnasiumBatch:
        return GymnasiumBatch(
            [maker(rows[task], form=form) for task in tasks],
            [table.names[task] for task in tasks],
            vectorization=vectorization,
            info_names=info_names,
        )

    def render(task: int, act: Any, num_frames: int) -> np.ndarray:
        environment = maker({**rows[task], "render_mode": "rgb_array"}, form=form)()
        return record_frames(environment, act, num_frames)

    environment = HostEnvironment(
        name,
        make_batch,
        observation_shape=form[0],
        action_space=form[1],
        max_episode_steps=limit,
        task_names=table.names,
        backend=backend,
        info_names=info_names,
    )
    return TaskFamily(
        name=f"gymnasium:{name}",
        environment=environment,
        train_tasks=HostTasks(np.arange(num_tasks, dtype=np.int32)),
        test_tasks=HostTasks(np.arange(num_tasks, len(rows), dtype=np.int32)),
        train_names=table.names[:num_tasks],
        description=f"Gymnasium {name}: {table.description}",
        metric=metric,
        notes=(f"backend {backend}", *table.notes),
        render=render if draws else None,
        close=environment.close,
    )
