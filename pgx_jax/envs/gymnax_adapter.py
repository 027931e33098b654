"""Any gymnax environment behind the batched protocol; a task is its parameters."""

import difflib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import ActionSpace, Box, Discrete, TimeStep


@dataclass(frozen=True)
class GymnaxEnvironment:
    """gymnax environment ``name``; ``tasks`` are its ``EnvParams`` with a leading batch axis.

    Observations become float32; the number of a state (FrozenLake) becomes its indicator vector.
    The bounds of a continuous action are the task's own.

    Attributes:
        name: gymnax's name, e.g. "CartPole-v1".
        max_steps: largest ``max_steps_in_episode`` of the tasks, where it is not gymnax's default.
    """

    name: str
    max_steps: int | None = None

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return _load(self.name).observation_shape

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        return _load(self.name).action_space

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        if self.max_steps is not None:
            return self.max_steps
        return math.ceil(self.default_task.max_steps_in_episode)

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports: none."""
        return ()

    @property
    def default_task(self) -> Any:
        """Gymnax's default parameters."""
        return _load(self.name).default_task

    def reset(self, keys: Array, tasks: Any) -> tuple[Any, Array]:
        """Start B episodes -> state, observation float[B, ...]."""
        loaded = _load(self.name)
        observation, state = jax.vmap(loaded.environment.reset_env)(keys, tasks)
        return jax.tree.map(_strong, state), loaded.encode(observation)

    def step(self, keys: Array, state: Any, action: Array, tasks: Any) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        loaded = _load(self.name)

        def one_step(key: Array, state: Any, action: Array, task: Any) -> Any:
            if isinstance(loaded.action_space, Box):
                space = loaded.environment.action_space(task)
                low, high = (jnp.asarray(bound, jnp.float32) for bound in (space.low, space.high))
                unit = (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0
                action = low + unit.reshape(space.shape) * (high - low)
            return loaded.environment.step(key, state, action, task)

        observation, after, reward, terminated, truncated, info = jax.vmap(one_step)(
            keys, state, action, tasks
        )
        # Some environments count in another type after a step than after a reset.
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
        return jax.tree.map(_strong, after), TimeStep(
            observation=loaded.encode(observation),
            reward=reward.astype(jnp.float32).reshape(keys.shape[0]),
            terminated=terminated,
            truncated=truncated & ~terminated,
            final_observation=loaded.encode(info["final_observation"]),
            valid=jnp.ones(terminated.shape, bool),
            info={},
        )


class _Loaded(NamedTuple):
    environment: Any
    default_task: Any
    observation_shape: tuple[int, ...]
    action_space: ActionSpace
    num_states: int | None

    def encode(self, observation: Array) -> Array:
        """Observations as float32[B, ...]."""
        if self.num_states is not None:
            return jax.nn.one_hot(observation, self.num_states, dtype=jnp.float32)
        return _strong(observation.astype(jnp.float32))


def _strong(value: Array) -> Array:
    # Weak types of Python numbers would have a program compiled anew for its second state.
    return jax.lax.convert_element_type(value, value.dtype)


@lru_cache(maxsize=32)
def _load(name: str) -> _Loaded:
    try:
        import gymnax
    except ImportError as error:
        raise ImportError(
            f'environment "{name}" needs gymnax: pip install "pgx_jax[run]"'
        ) from error
    if name not in gymnax.registered_envs:
        nearest = difflib.get_close_matches(name, gymnax.registered_envs, n=1, cutoff=0.4)
        hint = f'; did you mean "{nearest[0]}"?' if nearest else "."
        raise ValueError(
            f'gymnax has no environment "{name}"{hint} "pgx-jax list gymnax" names those it has'
        )
    try:
        environment, params = gymnax.make(name)
    except Exception as error:
        raise ValueError(
            f'gymnax cannot make environment "{name}": {type(error).__name__}: {error}'
        ) from error
    # What a reset returns counts; what the space declares may differ.
    observation = jax.eval_shape(environment.reset_env, jax.random.key(0), params)[0]
    if not isinstance(observation, jax.ShapeDtypeStruct):
        raise ValueError(
            f'environment "{name}" has observations {observation}; only arrays are supported'
        )
    num_states = None
    if observation.shape == () and jnp.issubdtype(observation.dtype, jnp.integer):
        num_states = getattr(environment.observation_space(params), "n", None)
    shape = observation.shape if num_states is None else (int(num_states),)
    space = environment.action_space(params)
    return _Loaded(environment, params, shape, _action_space(space, name), num_states)


def _action_space(space: Any, name: str) -> ActionSpace:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    bounds = [getattr(space, bound, np.inf) for bound in ("low", "high")]
    if not all(np.isfinite(np.asarray(bound)).all() for bound in bounds):
        raise ValueError(
            f'environment "{name}" has actions {space}; only Discrete and bounded Box are supported'
        )
    return Box(math.prod(space.shape))
