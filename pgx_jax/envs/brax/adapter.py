"""Brax's half-cheetah and ant behind the batched protocol, each environment with its own physics.

Brax keeps one physical system in an environment object. Here every environment of a batch gets a
copy of that object whose system has the task's gravity, friction, masses and motors, inside one
``vmap``. Rewards follow the task's target, with the control cost and the survival bonus of brax.

On a CPU the physics takes longer to compile than a thousand steps of it to run, and every program
that holds it compiles it again. There the steps are taken by a Python loop, in chunks of one size,
so that it is compiled once. Elsewhere a rollout is one program.
"""

import copy
import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer

from pgx_jax.envs.base import ActionSpace, Box, TimeStep

BACKENDS = ("spring", "positional", "generalized", "mjx")
MAX_STEPS = 1000
VELOCITY_SCALE = 10.0
"""Velocities, m/s and rad/s, are divided by this in observations; positions stay as they are."""
OBSERVATION_LIMIT = 10.0
"""Observations are clipped to plus and minus this after scaling."""
CHUNK_SIZE = 64
"""Environments that one call steps where the loop is Python's."""

_HIDDEN_POSITIONS = {"halfcheetah": 1, "ant": 2}
"""Leading positions that brax leaves out of its observations: x, and the ant's y."""


class BraxTasks(NamedTuple):
    """Tasks of a brax environment; leaves lead with the number of tasks.

    Attributes:
        gravity: float[n], factor on brax's gravity.
        friction: float[n], factor on all coefficients of friction.
        mass: float[n], factor on the mass and the inertia of every link.
        strength: float[n], factor on the torque of every motor.
        target: float[n], half-cheetah: velocity along x to reach, m/s, where plus or minus
            infinity asks for as much as possible; ant: direction to run in, radians from x.
    """

    gravity: Array
    friction: Array
    mass: Array
    strength: Array
    target: Array


class BraxChunk(NamedTuple):
    """Where some of the environments stand.

    Attributes:
        physics: brax's pipeline state, leaves lead with the number of environments; of a fresh
            environment only ``q`` and ``qd`` hold.
        fresh: bool[size], the episode has not made its first step.
        time: int32[size], steps of the running episode.
    """

    physics: Any
    fresh: Array
    time: Array


BraxState = tuple[BraxChunk, ...]
"""Where B environments stand; the last chunk may be padded."""


@dataclass(frozen=True)
class BraxEnvironment:
    """Brax environment ``name`` under ``backend``; ``tasks`` are :class:`BraxTasks`.

    The half-cheetah is paid min(v, 2 |target| - v), where v is its velocity in the direction of
    the target's sign: the forward reward of brax up to the target speed, and beyond it
    |target| - |v - |target||, which is the reward of Finn et al. (2017, "Model-agnostic
    meta-learning") plus a constant. The ant is paid its velocity in the direction ``target``.
    Both pay the control cost of brax, and the ant gets its survival bonus.

    Attributes:
        name: "halfcheetah" or "ant".
        backend: one of ``BACKENDS``.
        loop: "compiled", "python", or "auto": Python's on a CPU only.

    Raises:
        ValueError: an unknown name, backend or loop.
    """

    name: str
    backend: str = "spring"
    loop: Literal["auto", "compiled", "python"] = "auto"

    def __post_init__(self) -> None:
        """Check the names."""
        for what, value, known in (
            ("environment", self.name, tuple(_HIDDEN_POSITIONS)),
            ("backend", self.backend, BACKENDS),
            ("loop", self.loop, ("auto", "compiled", "python")),
        ):
            if value not in known:
                raise ValueError(f'unknown brax {what} "{value}"; known: {", ".join(known)}')

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation: positions, then velocities."""
        system = _make(self.name, self.backend).sys
        return (system.q_size() + system.qd_size() - _HIDDEN_POSITIONS[self.name],)

    @property
    def action_space(self) -> ActionSpace:
        """What an action is: a share of each motor's largest torque."""
        return Box(int(_make(self.name, self.backend).sys.act_size()))

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return MAX_STEPS

    @property
    def info_names(self) -> tuple[str, ...]:
        """``distance``: metres from the origin in the target's direction."""
        return ("distance",)

    @property
    def runs_in_python(self) -> bool:
        """Whether rollouts are to be Python loops."""
        return self.loop == "python" or (self.loop == "auto" and jax.default_backend() == "cpu")

    @property
    def default_task(self) -> BraxTasks:
        """Brax's own physics and reward, one task of scalars."""
        one = jnp.float32(1.0)
        target = jnp.float32(jnp.inf if self.name == "halfcheetah" else 0.0)
        return BraxTasks(one, one, one, one, target)

    def reset(self, keys: Array, tasks: BraxTasks) -> tuple[BraxState, Array]:
        """Start B episodes -> state, observation float[B, size]."""
        del tasks  # All start alike; the physics follows on the first step.
        num_envs = keys.shape[0]
        in_chunks = self._in_chunks(keys)
        size = CHUNK_SIZE if in_chunks else num_envs
        begin = self._compiled_begin if in_chunks else self._begin
        begun = [begin(part) for part in _split(keys, (size,) * -(-num_envs // size))]
        return tuple(chunk for chunk, _ in begun), _joined([seen for _, seen in begun], num_envs)

    def step(
        self, keys: Array, state: BraxState, action: Array, tasks: BraxTasks
    ) -> tuple[BraxState, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        num_envs = keys.shape[0]
        advance = self._compiled_advance if self._in_chunks(keys) else self._advance
        parts = _split((keys, action, tasks), tuple(chunk.time.shape[0] for chunk in state))
        results = [
            advance(part_keys, chunk, part_action, part_tasks)
            for chunk, (part_keys, part_action, part_tasks) in zip(state, parts, strict=True)
        ]
        return tuple(chunk for chunk, _ in results), _joined([s for _, s in results], num_envs)

    def _in_chunks(self, keys: Array) -> bool:
        return self.runs_in_python and not isinstance(keys, Tracer)

    def _begin(self, keys: Array) -> tuple[BraxChunk, Array]:
        q, qd, observation = jax.vmap(self._draw_initial)(keys)
        count = keys.shape[0]
        blank = jax.tree.map(
            lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype),
            _pipeline_shapes(self.name, self.backend),
        )
        fresh, time = jnp.ones(count, bool), jnp.zeros(count, jnp.int32)
        return BraxChunk(blank.replace(q=q, qd=qd), fresh, time), observation

    @partial(jax.jit, static_argnums=0)
    def _compiled_begin(self, keys: Array) -> tuple[BraxChunk, Array]:
        return self._begin(keys)

    def _advance(
        self, keys: Array, chunk: BraxChunk, action: Array, tasks: BraxTasks
    ) -> tuple[BraxChunk, TimeStep]:
        # Starting the physics costs as much as several of its steps: only when an episode began.
        physics = lax.cond(
            chunk.fresh.any(), self._start_fresh, lambda chunk, _: chunk.physics, chunk, tasks
        )
        physics, observation, reward, fallen, distance = jax.vmap(self._move)(
            physics, jnp.clip(action, -1.0, 1.0), tasks
        )
        time = chunk.time + 1
        truncated = (time >= MAX_STEPS) & ~fallen
        done = fallen | truncated
        q, qd, first = jax.vmap(self._draw_initial)(keys)
        physics = physics.replace(q=_choose(done, q, physics.q), qd=_choose(done, qd, physics.qd))
        # As the state that came in, weak types too: else a loop would be compiled twice.
        physics = jax.tree.map(
            lambda new, old: lax.convert_element_type(new, old.dtype), physics, chunk.physics
        )
        return BraxChunk(physics, done, jnp.where(done, 0, time)), TimeStep(
            observation=_choose(done, first, observation),
            reward=reward,
            terminated=fallen,
            truncated=truncated,
            final_observation=observation,
            valid=jnp.ones(done.shape, bool),
            info={"distance": distance},
        )

    @partial(jax.jit, static_argnums=0)
    def _compiled_advance(
        self, keys: Array, chunk: BraxChunk, action: Array, tasks: BraxTasks
    ) -> tuple[BraxChunk, TimeStep]:
        return self._advance(keys, chunk, action, tasks)

    def _start_fresh(self, chunk: BraxChunk, tasks: BraxTasks) -> Any:
        started = jax.vmap(lambda q, qd, task: self._environment(task).pipeline_init(q, qd))(
            chunk.physics.q, chunk.physics.qd, tasks
        )
        return jax.tree.map(partial(_choose, chunk.fresh), started, chunk.physics)

    def _draw_initial(self, key: Array) -> tuple[Array, Array, Array]:
        """Positions, velocities and observation of a new episode, as brax draws them."""
        environment = copy.copy(_make(self.name, self.backend))
        # The rest of the physics is made from these when the first step needs it.
        environment.pipeline_init = _Coordinates
        started = environment.reset(key)
        coordinates = started.pipeline_state
        return coordinates.q, coordinates.qd, self._scaled(started.obs)

    def _move(
        self, physics: Any, action: Array, task: BraxTasks
    ) -> tuple[Any, Array, Array, Array, Array]:
        """One step of one environment -> physics, observation, reward, fallen, distance."""
        from brax.envs.base import State

        zero = jnp.zeros(())
        after = self._environment(task).step(State(physics, zero, zero, zero, {}), action)
        metrics = after.metrics
        if self.name == "halfcheetah":
            sign, speed = jnp.sign(task.target), jnp.abs(task.target)
            velocity = sign * metrics["x_velocity"]
            reward = jnp.minimum(velocity, 2.0 * speed - velocity) + metrics["reward_ctrl"]
            distance = sign * metrics["x_position"]
        else:
            along_x, along_y = jnp.cos(task.target), jnp.sin(task.target)
            velocity = along_x * metrics["x_velocity"] + along_y * metrics["y_velocity"]
            reward = velocity + metrics["reward_survive"] + metrics["reward_ctrl"]
            distance = along_x * metrics["x_position"] + along_y * metrics["y_position"]
        return after.pipeline_state, self._scaled(after.obs), reward, after.done > 0.5, distance

    def _scaled(self, observation: Array) -> Array:
        velocities = _make(self.name, self.backend).sys.qd_size()
        position, velocity = observation[:-velocities], observation[-velocities:]
        scaled = jnp.concatenate([position, velocity / VELOCITY_SCALE])
        return jnp.clip(scaled, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

    def _environment(self, task: BraxTasks) -> Any:
        environment = copy.copy(_make(self.name, self.backend))
        environment.sys = modified_system(environment.sys, task, self.backend)
        return environment


def modified_system(system: Any, task: BraxTasks, backend: str) -> Any:
    """Brax's system under the physics of one task.

    Args:
        system: ``brax.base.System``.
        task: one task, scalars.
        backend: one of ``BACKENDS``; they keep the same quantities in different places.

    Returns:
        The system, with gravity, friction, masses and motors scaled.
    """
    inertia = system.link.inertia
    mass, tensor = inertia.mass, inertia.i
    powers = {}
    if backend in ("spring", "positional"):
        # These raise masses to a power, which for the ant is 0: scale what comes of it.
        powers = {"spring_mass_scale": 0.0, "spring_inertia_scale": 0.0}
        mass = mass ** (1 - system.spring_mass_scale)
        diagonal = jax.vmap(jnp.diagonal)(tensor) ** (1 - system.spring_inertia_scale)
        tensor = jax.vmap(jnp.diag)(diagonal)
    inertia = inertia.replace(mass=mass * task.mass, i=tensor * task.mass)
    changed = {
        "link": system.link.replace(inertia=inertia, invweight=system.link.invweight / task.mass),
        "gravity": system.gravity * task.gravity,
        "geom_friction": system.geom_friction * task.friction,
        "actuator": system.actuator.replace(gear=system.actuator.gear * task.strength),
    }
    if backend == "mjx":
        changed = {
            "opt": system.opt.replace(gravity=system.opt.gravity * task.gravity),
            "geom_friction": changed["geom_friction"],
            "body_mass": system.body_mass * task.mass,
            "body_inertia": system.body_inertia * task.mass,
            "body_subtreemass": system.body_subtreemass * task.mass,
            "body_invweight0": system.body_invweight0 / task.mass,
            "actuator_gear": system.actuator_gear * task.strength,
        }
    return system.replace(**changed, **powers)


class _Coordinates(NamedTuple):
    q: Array
    qd: Array


@lru_cache(maxsize=16)
def _make(name: str, backend: str) -> Any:
    with warnings.catch_warnings(), jax.ensure_compile_time_eval():
        # Brax and what it imports warn that they are not developed further.
        warnings.simplefilter("ignore")
        try:
            from brax import envs
        except ImportError as error:
            raise ImportError(
                f'environment "{name}" needs brax: pip install "pgx_jax[brax]"'
            ) from error
        return envs.get_environment(name, backend=backend)


@lru_cache(maxsize=16)
def _pipeline_shapes(name: str, backend: str) -> Any:
    """Shapes and types of one environment's pipeline state."""
    environment = _make(name, backend)
    system = environment.sys
    return jax.eval_shape(
        environment.pipeline_init, jnp.zeros(system.q_size()), jnp.zeros(system.qd_size())
    )


def _choose(where: Array, new: Array, old: Array) -> Array:
    return jnp.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)


@partial(jax.jit, static_argnums=1)
def _split(tree: Any, sizes: tuple[int, ...]) -> list[Any]:
    """Leaves [B, ...] in chunks; the last row fills what is left of the last chunk."""
    num_envs = jax.tree.leaves(tree)[0].shape[0]
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    rows = [
        jnp.minimum(jnp.arange(end - size, end), num_envs - 1)
        for size, end in zip(sizes, ends, strict=True)
    ]
    return [jax.tree.map(lambda leaf, part=part: leaf[part], tree) for part in rows]


@partial(jax.jit, static_argnums=1)
def _joined(parts: list[Any], num_envs: int) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_envs], *parts)
