"""Strips of frames: how each group's policy acts in a task of its group."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import Box, TaskFamily
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.slices import learner_slice
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.training import algorithm_of

_NUM_FRAMES = 8


class Strip(NamedTuple):
    """Frames of one episode.

    Attributes:
        group: number of the group, from 0.
        task: name of the task.
        frames: uint8[frames, height, width, 3], from the episode's first to its last.
    """

    group: int
    task: str
    frames: np.ndarray


def render_strips(
    runner: StageRunner, family: TaskFamily, config: RunConfig, progress: Progress
) -> list[Strip]:
    """One strip a group: its policy, most probable actions, in the group's first task.

    Says so and returns nothing where the environment, or this machine, cannot draw, or where
    "policygradex" was not among the compared methods.

    Args:
        runner: holds the finished stages of a whole run.
        family: the tasks.
        config: the settings.
        progress: tells a person.

    Returns:
        The strips, by group.
    """
    if family.render is None:
        progress.line(f'--render: "{family.name}" cannot be drawn')
        return []
    if "train/policygradex" not in runner.finished:
        progress.line("--render: no policy was trained per group; policygradex has to be compared")
        return []
    algorithm = algorithm_of(learner_slice(config), family)
    trained = runner.finished["train/policygradex"].value
    labels = np.asarray(runner.finished["grouping"].value.labels)
    mode = jax.jit(algorithm.policy.mode)
    strips = []
    for group in range(int(labels.max()) + 1):
        task = int(np.flatnonzero(labels == group)[0])
        agent = jax.tree.map(jnp.asarray, trained[f"group{group}"].agent)
        policy = algorithm.policy_params(agent)

        def act(observation: Any, params: Any = policy) -> np.ndarray:
            action = np.asarray(mode(params, jax.tree.map(jnp.asarray, observation)))
            bounded = isinstance(family.environment.action_space, Box)
            return np.clip(action, -1.0, 1.0) if bounded else action

        try:
            frames = family.render(task, act, _NUM_FRAMES)
        except Exception as error:  # drawing libraries fail in ways of their own
            progress.line(f"--render: no frames, {type(error).__name__}: {error}")
            return strips
        strips.append(Strip(group, family.train_names[task], frames))
    return strips
