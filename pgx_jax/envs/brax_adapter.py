"""Brax's half-cheetah and ant behind the batched protocol, each environment with its own physics.

Brax keeps one physical system in an environment object. Here every environment of a batch gets a
copy of that object whose system has the task's gravity, friction, masses and motors, inside one
``vmap``. Rewards follow the task's target, with the control cost and the survival bonus of brax.
"""

import copy
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.envs.base import ActionSpace, Box, TimeStep

BACKENDS = ("spring", "positional", "generalized", "mjx")
MAX_STEPS = 1000
VELOCITY_SCALE = 10.0
"""Velocities are divided by this in observations, in m/s and rad/s; positions stay as they are."""
OBSERVATION_LIMIT = 10.0
"""Scaled observations are clipped to plus and minus this."""


class BraxTasks(NamedTuple):
    """Tasks of a brax environment; leaves lead with the number of tasks.

    Attributes:
        gravity: float[n], factor on brax's gravity.
        friction: float[n], factor on all friction coefficients.
        mass: float[n], factor on the mass and the inertia of every link.
        strength: float[n], factor on the torque of every motor.
        target: float[n], half-cheetah: target velocity along x in m/s, of which infinity asks
            for as much as possible; ant: direction to run in, radians from the x axis.
    """

    gravity: Array
    friction: Array
    mass: Array
    strength: Array
    target: Array


class BraxState(NamedTuple):
    """Where B environments stand.

    Attributes:
        physics: brax's pipeline state, leaves lead with B.
        time: int32[B], steps of the running episode.
    """

    physics: Any
    time: Array


class _Start(NamedTuple):
    physics: Any
    observation: Array


@dataclass(frozen=True)
class BraxEnvironment:
    """Brax environment ``name`` under ``backend``; ``tasks`` are :class:`BraxTasks`.

    The half-cheetah is paid min(v, 2 |target| - v) a step, where v is its velocity in the
    direction of the target's sign: the forward reward of brax up to the target speed, and
    |target| - |v - |target|| beyond, which is the reward of Finn et al. (2017, "Model-agnostic
    meta-learning") plus a constant. The ant is paid its velocity along ``target``. Both pay the
    control cost of brax, and the ant gets its survival bonus.

    Attributes:
        name: "halfcheetah" or "ant".
        backend: one of ``BACKENDS``.
    """

    name: str
    backend: str = "spring"

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        system = _make(self.name, self.backend).sys
        return (system.q_size() + system.qd_size() - _hidden_positions(self.name),)

    @property
    def action_space(self) -> ActionSpace:
        """What an action is: torques."""
        return Box(int(_make(self.name, self.backend).sys.act_size()))

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return MAX_STEPS

    @property
    def info_names(self) -> tuple[str, ...]:
        """``distance``: metres from the origin in the direction of the target."""
        return ("distance",)

    @property
    def default_task(self) -> BraxTasks:
        """Brax's own physics and reward, leaves without the leading axis."""
        one = jnp.float32(1.0)
        target = jnp.float32(jnp.inf if self.name == "halfcheetah" else 0.0)
        return BraxTasks(one, one, one, one, target)

    def reset(self, keys: Array, tasks: BraxTasks) -> tuple[BraxState, Array]:
        """Start B episodes -> state, observation float[B, size]."""
        start = self._start(keys, tasks)
        return BraxState(start.physics, jnp.zeros(keys.shape[0], jnp.int32)), start.observation

    def step(
        self, keys: Array, state: BraxState, action: Array, tasks: BraxTasks
    ) -> tuple[BraxState, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        action = jnp.clip(action, -1.0, 1.0)
        after, observation, reward, fallen, distance = jax.vmap(self._advance)(
            state.physics, action, tasks
        )
        time = state.time + 1
        truncated = (time >= MAX_STEPS) & ~fallen
        done = fallen | truncated
        # Starting costs as much as several steps of the physics: only where something ended.
        physics, shown = lax.cond(
            done.any(), self._restart, lambda keys, tasks, done, *kept: kept,
            keys, tasks, done, after, observation,
        )
        return BraxState(physics, jnp.where(done, 0, time)), TimeStep(
            observation=shown,
            reward=reward,
            terminated=fallen,
            truncated=truncated,
            final_observation=observation,
            valid=jnp.ones(done.shape, bool),
            info={"distance": distance},
        )

    def _start(self, keys: Array, tasks: BraxTasks) -> _Start:
        def one(key: Array, task: BraxTasks) -> _Start:
            begun = self._environment(task).reset(key)
            return _Start(begun.pipeline_state, self._scaled(begun.obs))

        return jax.vmap(one)(keys, tasks)

    def _restart(
        self, keys: Array, tasks: BraxTasks, done: Array, physics: Any, observation: Array
    ) -> tuple[Any, Array]:
        start = self._start(keys, tasks)

        def choose(fresh: Array, old: Array) -> Array:
            return jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), fresh, old)

        return jax.tree.map(choose, (start.physics, start.observation), (physics, observation))

    def _advance(
        self, physics: Any, action: Array, task: BraxTasks
    ) -> tuple[Any, Array, Array, Array, Array]:
        from brax.envs.base import State

        zero = jnp.zeros(())
        before = State(physics, jnp.zeros(self.observation_shape), zero, zero, {})
        after = self._environment(task).step(before, action)
        metrics = after.metrics
        if self.name == "halfcheetah":
            sign, speed = jnp.sign(task.target), jnp.abs(task.target)
            velocity = sign * metrics["x_velocity"]
            reward = jnp.minimum(velocity, 2.0 * speed - velocity) + metrics["reward_ctrl"]
            distance = sign * metrics["x_position"]
        else:
            east, north = jnp.cos(task.target), jnp.sin(task.target)
            reward = (
                east * metrics["x_velocity"]
                + north * metrics["y_velocity"]
                + metrics["reward_survive"]
                + metrics["reward_ctrl"]
            )
            distance = east * metrics["x_position"] + north * metrics["y_position"]
        return after.pipeline_state, self._scaled(after.obs), reward, after.done > 0.5, distance

    def _scaled(self, observation: Array) -> Array:
        system = _make(self.name, self.backend).sys
        positions = system.q_size() - _hidden_positions(self.name)
        scale = jnp.where(jnp.arange(observation.shape[0]) < positions, 1.0, 1 / VELOCITY_SCALE)
        return jnp.clip(observation * scale, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def _environment(self, task: BraxTasks) -> Any:
        environment = copy.copy(_make(self.name, self.backend))
        environment.sys = modified_system(environment.sys, task)
        return environment


def modified_system(system: Any, task: BraxTasks) -> Any:
    """Brax's system under the physics of one task.

    Args:
        system: ``brax.base.System``.
        task: one task, scalars.

    Returns:
        The system, with gravity, friction, masses and motors scaled.
    """
    inertia = system.link.inertia
    inertia = inertia.replace(mass=inertia.mass * task.mass, i=inertia.i * task.mass)
    return system.replace(
        gravity=system.gravity * task.gravity,
        geom_friction=system.geom_friction * task.friction,
        link=system.link.replace(inertia=inertia, invweight=system.link.invweight / task.mass),
        actuator=system.actuator.replace(gear=system.actuator.gear * task.strength),
        # Only read by the backend mjx.
        opt=system.opt.replace(gravity=system.opt.gravity * task.gravity),
        body_mass=system.body_mass * task.mass,
        body_inertia=system.body_inertia * task.mass,
        body_subtreemass=system.body_subtreemass * task.mass,
        body_invweight0=system.body_invweight0 / task.mass,
        actuator_gear=system.actuator_gear * task.strength,
    )


def _hidden_positions(name: str) -> int:
    """Leading positions that brax leaves out of the observation: x, and the ant's y."""
    return 1 if name == "halfcheetah" else 2


@lru_cache(maxsize=16)
def _make(name: str, backend: str) -> Any:
    try:
        from brax import envs
    except ImportError as error:
        raise ImportError(f'environment "{name}" needs brax: pip install "pgx_jax[brax]"') from error
    with warnings.catch_warnings(), jax.ensure_compile_time_eval():
        # Brax says on every load that it is not being developed further.
        warnings.simplefilter("ignore")
        return envs.get_environment(name, backend=backend)
