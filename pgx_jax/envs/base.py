"""The batched environment protocol: B environments advance together, whatever is behind them.

The adapter owns batching. A JAX environment vmaps inside its adapter; an environment on the host
is called once per batched step. One rollout body serves all of them, and no caller vmaps a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    # A process that only steps environments does without JAX.
    from jax import Array


@dataclass(frozen=True)
class Discrete:
    """Actions int32[B] from 0 to ``num_actions`` - 1.

    Attributes:
        num_actions: how many.
    """

    num_actions: int


@dataclass(frozen=True)
class Box:
    """Actions float32[B, size]; the adapter clips them to [-1, 1] and scales them to the range.

    Attributes:
        size: numbers in one action.
    """

    size: int


ActionSpace = Discrete | Box


class TimeStep(NamedTuple):
    """What B environments return from one step; finished episodes have been reset already.

    Attributes:
        observation: float[B, ...], to act on next (of the new episode where one ended); or a
            tree of such, see ``Environment.observation_shape``.
        reward: float[B].
        terminated: bool[B], the episode ended in a terminal state: nothing to bootstrap.
        truncated: bool[B], it was cut short: bootstrap from ``final_observation``.
        final_observation: as ``observation``, what this step led to, before any reset.
        valid: bool[B], False for a step that only reset its environment; to be masked.
        info: float[B] by name, such as success; an episode's value is the largest of its steps.
    """

    observation: Any
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Any
    valid: Array
    info: dict[str, Array]

    @property
    def done(self) -> Array:
        """bool[B], the episode ended either way."""
        return self.terminated | self.truncated


class Environment(Protocol):
    """B environments behind one pair of functions; hashable, so that ``jit`` can take it static.

    ``tasks`` is a pytree whose leaves lead with B: each environment's own task. ``keys`` holds one
    PRNG key an environment, and an environment's random numbers depend on its own key alone.
    """

    @property
    def observation_shape(self) -> Any:
        """Shape of one observation, a tuple; a tree of shapes where observations are a tree.

        Where policies see their task, it is {"observation": shape, "task": (t,)}.
        """
        ...

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        ...

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        ...

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports."""
        ...

    def reset(self, keys: Array, tasks: Any) -> tuple[Any, Any]:
        """Start B episodes -> state, observation float[B, ...] or a tree of such."""
        ...

    def step(self, keys: Array, state: Any, action: Array, tasks: Any) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        ...


class TaskFamily(NamedTuple):
    """Tasks drawn from one published distribution, and the environment they share.

    Attributes:
        name: as on the command line.
        environment: the batched environment.
        train_tasks: pytree whose leaves lead with n, the source tasks.
        test_tasks: pytree whose leaves lead with the number of held-out tasks.
        train_names: one name a source task.
        description: one line, with the published ranges.
        groups: int[n], the groups where they are known in advance; else None.
        metric: what a policy is judged by: "return", or the name of an ``info`` value such as
            "success", of which an episode has the largest of its steps.
        notes: facts that a reader of the results has to know, such as the backend and the
            version of the reward.
        experts: ``(family, key, *, num_episodes)`` -> demonstrations of every source task, a
            NamedTuple with observation, action [n, N, T, ...] and success [n, N]; None where
            nobody can show them.
        render: ``(task, act, num_frames)`` -> uint8[frames, height, width, 3] of an episode in a
            source task under ``act(observation) -> action``; None where nothing can be drawn.
        close: releases what the environment holds on the host; None where it holds nothing.
        default_identity: how policies see their task unless asked otherwise, "hidden" or
            "one_hot"; see ``pgx_jax.envs.identity``.
        test_identity: int[number of held-out tasks], the source task whose identity each shares;
            None where a held-out task has no identity.
        plain: the family whose tasks this one makes visible; None where they are hidden.
    """

    name: str
    environment: Any
    train_tasks: Any
    test_tasks: Any
    train_names: tuple[str, ...]
    description: str
    groups: np.ndarray | None = None
    metric: str = "return"
    notes: tuple[str, ...] = ()
    experts: Callable[..., Any] | None = None
    render: Callable[..., np.ndarray] | None = None
    close: Callable[[], None] | None = None
    default_identity: str = "hidden"
    test_identity: np.ndarray | None = None
    plain: TaskFamily | None = None

    @property
    def num_tasks(self) -> int:
        """n, number of source tasks."""
        return len(self.train_names)
