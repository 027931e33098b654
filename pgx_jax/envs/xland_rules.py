"""A grid world whose rule is not observed: which of four objects turns into the star.

Alexander Nikulin et al.: "XLand-MiniGrid: scalable meta-reinforcement learning environments in
JAX", NeurIPS 2024 datasets and benchmarks; the package xminigrid. The physics, the view and the
reward are its own. Differences from its benchmarks:

1. All tasks share one room, one set of objects and one goal, to hold a star that is not there at
   first. They differ in the one rule that makes it, so that rules, not scenes, are in conflict.
2. An episode has 24 steps, which leaves time to take one object, rarely two; XLand-MiniGrid gives
   3 steps a cell, so that an agent with a memory can try all.
3. Of the view, policies are given the indicators of what each cell holds, not the numbers of tile
   and colour.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import Discrete, TaskFamily, TimeStep

OBJECTS = ("red ball", "green square", "blue pyramid", "purple hex")
"""What lies in the room; a rule is about one of them."""
RULES = ("held", "approached")
"""When a rule applies: the object is taken up, or a step forward ends beside it."""
SIZE = 7
"""Cells along a side of the room, walls included."""
MAX_STEPS = 24
_VIEW = 5
_CHANNELS = len(OBJECTS) + 2


class XLandTasks(NamedTuple):
    """Tasks of the grid world.

    Attributes:
        thing: int32[n], index into ``OBJECTS``.
        rule: int32[n], index into ``RULES``.
    """

    thing: Array
    rule: Array


@dataclass(frozen=True)
class XLandRulesEnvironment:
    """XLand-MiniGrid with one hidden rule; ``tasks`` are :class:`XLandTasks`.

    Observations are float32[B, 5, 5, 6]: the cells ahead of the agent, and for each the indicators
    of the four objects, the star, and wall or nothing. What the agent holds is not shown, as in
    XLand-MiniGrid. Actions: forward, turn right, turn left, take, put down, toggle. Holding the
    star ends the episode and pays 1 - .9 t / 24 after t steps; nothing else pays.
    """

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return (_VIEW, _VIEW, _CHANNELS)

    @property
    def action_space(self) -> Discrete:
        """What an action is."""
        return Discrete(6)

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return MAX_STEPS

    @property
    def info_names(self) -> tuple[str, ...]:
        """``success``: 1 where the star is held."""
        return ("success",)

    def reset(self, keys: Array, tasks: XLandTasks) -> tuple[Any, Array]:
        """Start B episodes -> state, observation float32[B, 5, 5, 6]."""
        state = jax.vmap(self._begin)(keys, tasks)
        return state, _encoded(state.observation)

    def step(
        self, keys: Array, state: Any, action: Array, tasks: XLandTasks
    ) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        made = _make()

        def one_step(state: Any, action: Array, task: XLandTasks) -> Any:
            return made.environment.step(made.parameters(task), state, action)

        after = jax.vmap(one_step)(state, action, tasks)
        terminated = after.discount == 0.0
        truncated = (after.state.step_num >= MAX_STEPS) & ~terminated
        done = terminated | truncated
        fresh = jax.vmap(self._begin)(keys, tasks)
        following = jax.tree.map(
            lambda new, old: _strong(
                jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), new, old), new.dtype
            ),
            fresh,
            after,
        )
        return following, TimeStep(
            observation=_encoded(following.observation),
            reward=_strong(after.reward, jnp.float32),
            terminated=terminated,
            truncated=truncated,
            final_observation=_encoded(after.observation),
            valid=jnp.ones(done.shape, bool),
            info={"success": terminated.astype(jnp.float32)},
        )

    def _begin(self, key: Array, task: XLandTasks) -> Any:
        made = _make()
        started = made.environment.reset(made.parameters(task), key)
        # Steps draw no random numbers; a key among the numbers would be an exception everywhere.
        started = started.replace(state=started.state.replace(key=jnp.zeros((), jnp.uint32)))
        return jax.tree.map(lambda leaf: _strong(leaf, leaf.dtype), started)


def xland_rules(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """XLand-MiniGrid in one room, one of ``OBJECTS`` turning into the star by one of ``RULES``.

    There are eight tasks in all; a family is a draw of them, with repetitions.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family, with ``groups`` known: by object, for which one policy can serve both rules.

    Raises:
        ImportError: xminigrid is missing.
    """
    _make()
    train_tasks = sample_xland_tasks(2 * seed, num_tasks)
    things = np.asarray(train_tasks.thing)
    return TaskFamily(
        name="xland-rules",
        environment=XLandRulesEnvironment(),
        train_tasks=train_tasks,
        test_tasks=sample_xland_tasks(2 * seed + 1, num_test_tasks),
        train_names=tuple(
            f"{index}: {OBJECTS[thing]} {RULES[rule]}"
            for index, (thing, rule) in enumerate(
                zip(things, np.asarray(train_tasks.rule), strict=True), 1
            )
        ),
        description=f"XLand-MiniGrid R1-{SIZE}x{SIZE}: which of {', '.join(OBJECTS)} turns into "
        f"the star, when {' or '.join(RULES)}; {MAX_STEPS} steps",
        groups=np.unique(things, return_inverse=True)[1],
    )


def sample_xland_tasks(seed: int, num_tasks: int) -> XLandTasks:
    """Tasks from the published distribution: object and rule uniform.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        The tasks.
    """
    shares = np.random.default_rng(seed).random((num_tasks, 2))
    columns = (shares * [len(OBJECTS), len(RULES)]).astype(np.int32).T
    return XLandTasks(*(jnp.asarray(column) for column in columns))


class _Made(NamedTuple):
    environment: Any
    standard: Any
    rulesets: Any

    def parameters(self, task: XLandTasks) -> Any:
        """XLand-MiniGrid's parameters of one task."""
        row = task.thing * len(RULES) + task.rule
        return self.standard.replace(ruleset=jax.tree.map(lambda leaf: leaf[row], self.rulesets))


@lru_cache(maxsize=1)
def _make() -> _Made:
    with jax.ensure_compile_time_eval():
        try:
            goals, rules, xland, types = (
                import_module(f"xminigrid.{name}")
                for name in ("core.goals", "core.rules", "envs.xland", "types")
            )
        except ImportError as error:
            raise ImportError(
                'environment "xland-rules" needs xminigrid: pip install "pgx_jax[xminigrid]"'
            ) from error
        things, star = jnp.asarray(_TILES[:-2], jnp.uint8), jnp.asarray(_TILES[-2], jnp.uint8)
        rulesets = [
            types.RuleSet(
                goal=goals.AgentHoldGoal(tile=star).encode(),
                rules=rule(tile=thing, prod_tile=star).encode()[None],
                init_tiles=things,
            )
            for thing in things
            for rule in (rules.AgentHoldRule, rules.AgentNearRule)
        ]
        environment = xland.XLandMiniGrid()
        standard = environment.default_params(
            height=SIZE, width=SIZE, view_size=_VIEW, max_steps=MAX_STEPS, grid_type="R1"
        )
        return _Made(environment, standard, jax.tree.map(lambda *rows: jnp.stack(rows), *rulesets))


# XLand-MiniGrid's numbers of tile and colour: the objects, the star (yellow), the wall (grey).
_TILES = ((3, 1), (4, 2), (5, 3), (11, 4), (12, 5), (2, 6))


def _encoded(view: Array) -> Array:
    """uint8[B, 5, 5, 2] -> float32[B, 5, 5, 6], the indicators of ``_TILES``; nothing is wall."""
    shown = (view[..., None, :] == jnp.asarray(_TILES, jnp.uint8)).all(axis=-1)
    outside = (view == 0).all(axis=-1)
    return shown.at[..., -1].set(shown[..., -1] | outside).astype(jnp.float32)


def _strong(value: Array, dtype: Any) -> Array:
    # Weak types of Python numbers would have a program compiled anew for its second state.
    return jax.lax.convert_element_type(value, dtype)
