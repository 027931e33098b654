"""Policies that know their task: any family, with the task's identity beside the observation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pgx_jax.envs.base import Environment, TaskFamily, TimeStep
from pgx_jax.registry import unknown_name

if TYPE_CHECKING:
    from jax import Array

IDENTITIES = ("hidden", "one_hot")
"""What policies can see of their task by name; an array of embeddings is the third choice."""


class IdentifiedTasks(NamedTuple):
    """Tasks and who they are.

    Attributes:
        parameters: the inner environment's tasks, pytree.
        identity: float[..., t], what policies see of them.
    """

    parameters: Any
    identity: Any


@dataclass(frozen=True)
class IdentifiedEnvironment:
    """An environment that shows each episode's task: {"observation": ..., "task": float[B, t]}.

    All else, such as ``action_space``, ``check`` and ``close``, is the inner environment's.

    Attributes:
        inner: the environment without the identity.
        size: t, numbers in an identity.
    """

    inner: Environment
    size: int

    def __getattr__(self, name: str) -> Any:
        # A copy asks before there is an inner environment; protocols of Python are not forwarded.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def observation_shape(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one observation's entries."""
        return {"observation": self.inner.observation_shape, "task": (self.size,)}

    def reset(self, keys: Array, tasks: IdentifiedTasks) -> tuple[Any, dict[str, Array]]:
        """Start B episodes -> state, observation."""
        state, observation = self.inner.reset(keys, tasks.parameters)
        return state, identified(observation, tasks.identity)

    def step(
        self, keys: Array, state: Any, action: Array, tasks: IdentifiedTasks
    ) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        state, result = self.inner.step(keys, state, action, tasks.parameters)
        return state, result._replace(
            observation=identified(result.observation, tasks.identity),
            final_observation=identified(result.final_observation, tasks.identity),
        )


def identified(observation: Any, identity: Any) -> dict[str, Any]:
    """What a policy sees: the observation, and under "task" the task's identity."""
    return {"observation": observation, "task": identity}


def with_identity(family: TaskFamily, identity: Any) -> TaskFamily:
    """The family whose policies see so much of their task.

    Args:
        family: with or without visible tasks; what it showed so far is replaced.
        identity: "hidden": nothing, observations are the environment's; "one_hot": the source
            task's indicator vector, t = n; or float[n, t], an embedding of each source task.

    Returns:
        The family. Its tasks are :class:`IdentifiedTasks` and its observations
        {"observation": float[B, ...], "task": float[B, t]}, unless hidden. A held-out task has
        the identity of the source task ``family.test_identity`` says; where that is None it has
        none, and policies see zeros.

    Raises:
        ValueError: an unknown name, or an array without one finite row a source task.
    """
    plain = family.plain or family
    if isinstance(identity, str):
        if identity not in IDENTITIES:
            raise ValueError(unknown_name("identity", identity, IDENTITIES))
        if identity == "hidden":
            return plain
        rows, kind = np.eye(plain.num_tasks, dtype=np.float32), identity
    else:
        rows, kind = _checked(identity, plain.num_tasks), "embedding"
    shared = plain.test_identity
    test_rows = np.zeros((_num_rows(plain.test_tasks), rows.shape[1]), np.float32)
    if shared is not None:
        test_rows = rows[shared]
    # Arrays of JAX, so that a program can take rows of them.
    import jax.numpy as jnp

    return plain._replace(
        environment=IdentifiedEnvironment(plain.environment, rows.shape[1]),
        train_tasks=IdentifiedTasks(plain.train_tasks, jnp.asarray(rows)),
        test_tasks=IdentifiedTasks(plain.test_tasks, jnp.asarray(test_rows)),
        notes=(
            *plain.notes,
            f"policies see their task ({kind.replace('_', '-')}); held-out tasks "
            + ("have no identity: zeros" if shared is None else "are shown as their source task"),
        ),
        experts=plain.experts and partial(_demonstrate, plain, rows),
        render=plain.render and partial(_render, plain.render, rows),
        plain=plain,
    )


def _checked(identity: Any, num_tasks: int) -> np.ndarray:
    rows = np.asarray(identity, np.float32)
    if rows.ndim != 2 or len(rows) != num_tasks or not rows.size:
        raise ValueError(
            f"identity has shape {rows.shape}; it must be float[n, t], one row for each of the "
            f"{num_tasks} source tasks"
        )
    if not np.isfinite(rows).all():
        raise ValueError("identity is NaN or infinite somewhere")
    return rows


def _num_rows(tasks: Any) -> int:
    import jax

    return jax.tree.leaves(tasks)[0].shape[0]


def _demonstrate(
    plain: TaskFamily, rows: np.ndarray, family: TaskFamily, key: Any, **options: Any
) -> Any:
    """The experts' episodes as policies see them; experts themselves see the plain observation."""
    del family
    assert plain.experts is not None
    shown = plain.experts(plain, key, **options)
    count = np.shape(shown.observation)[:3]
    identity = np.broadcast_to(rows[:, None, None], (*count, rows.shape[1]))
    return shown._replace(observation=identified(shown.observation, identity))


def _render(
    render: Callable[..., np.ndarray],
    rows: np.ndarray,
    task: int,
    act: Callable[[Any], np.ndarray],
    num_frames: int,
) -> np.ndarray:
    return render(task, lambda observation: act(identified(observation, rows[task])), num_frames)
