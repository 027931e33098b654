"""Brax's environments: the physics that tasks change, and what brax itself computes."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("brax")

from pgx_jax.envs.brax import adapter as brax_adapter
from pgx_jax.envs.brax.adapter import (
    BACKENDS,
    CHUNK_SIZE,
    MAX_STEPS,
    OBSERVATION_LIMIT,
    VELOCITY_SCALE,
    BraxEnvironment,
    BraxTasks,
    modified_system,
)
from pgx_jax.envs.brax.families import RANGES, sample_brax_tasks

NAMES = ("halfcheetah", "ant")
PHYSICS = tuple(RANGES)
# One size for all, so that the physics is compiled once an environment and backend.
COUNT = 7


def environment_of(name, backend="spring"):
    """Always the one that compiles a chunk's step once, also on an accelerator."""
    return BraxEnvironment(name, backend, loop="python")


def tasks_like(environment, count=COUNT, **changes):
    """Brax's own task in ``count`` rows, some fields replaced."""
    rows = jax.tree.map(lambda leaf: jnp.full(count, leaf), environment.default_task)
    return rows._replace(
        **{name: jnp.broadcast_to(jnp.float32(value), count) for name, value in changes.items()}
    )


def keys_of(seed=0, count=COUNT):
    return jax.random.split(jax.random.key(seed), count)


def actions_of(environment, num_steps, count=COUNT, seed=1, same=False):
    """Random actions [num_steps, count, size]; the same in all rows if ``same``."""
    shape = (num_steps, 1 if same else count, environment.action_space.size)
    drawn = jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=1.0)
    return jnp.broadcast_to(drawn, (num_steps, count, shape[-1]))


def play(environment, keys, tasks, actions):
    """Episodes from a reset on -> first observation, steps [T, B], last state."""
    state, first = environment.reset(keys, tasks)
    steps = []
    for time, action in enumerate(actions):
        now = jax.vmap(lambda key, time=time: jax.random.fold_in(key, time))(keys)
        state, step = environment.step(now, state, action, tasks)
        steps.append(step)
    return np.asarray(first), jax.tree.map(lambda *leaves: np.stack(leaves), *steps), state


class TestSystem:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("name", NAMES)
    def test_brax_itself_is_left_alone(self, name, backend):
        environment = BraxEnvironment(name, backend)
        system = brax_adapter._make(name, backend).sys
        before = [np.array(leaf) for leaf in jax.tree.leaves(system)]
        environment._environment(BraxTasks(*(jnp.float32(2.0) for _ in BraxTasks._fields)))
        assert brax_adapter._make(name, backend).sys is system
        for one, other in zip(before, jax.tree.leaves(system), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("backend", ["spring", "positional"])
    @pytest.mark.parametrize("name", NAMES)
    def test_mass_and_inertia_change_by_the_factor_after_the_powers_of_brax(self, name, backend):
        """These backends work with mass ** (1 - spring_mass_scale), for the ant mass ** 0."""
        system = brax_adapter._make(name, backend).sys
        task = BraxEnvironment(name, backend).default_task

        def effective(system):
            inertia = system.link.inertia
            diagonal = np.diagonal(inertia.i, axis1=1, axis2=2)
            return (
                np.asarray(inertia.mass) ** (1 - system.spring_mass_scale),
                diagonal ** (1 - system.spring_inertia_scale),
            )

        own = modified_system(system, task, backend)
        heavy = modified_system(system, task._replace(mass=jnp.float32(3.0)), backend)
        for value, same, tripled in zip(*map(effective, (system, own, heavy)), strict=True):
            np.testing.assert_allclose(same, value, rtol=1e-6)
            np.testing.assert_allclose(tripled, 3.0 * value, rtol=1e-6)


CASES = [("halfcheetah", "spring"), ("ant", "spring")]
OTHER_CASES = [("halfcheetah", "positional"), ("ant", "generalized"), ("halfcheetah", "mjx")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), CASES + OTHER_CASES)
class TestPhysics:
    def test_agrees_with_brax_step_by_step(self, name, backend):
        """Over 50 steps from each state that brax came to; free runs part by rounding."""
        environment = environment_of(name, backend)
        brax = brax_adapter._make(name, backend)
        keys, tasks = keys_of(), tasks_like(environment)
        theirs = jax.jit(jax.vmap(brax.reset))(keys)
        advance = jax.jit(jax.vmap(brax.step))
        (chunk,), first = environment.reset(keys, tasks)
        velocities = brax.sys.qd_size()

        def scaled(observation):
            positions, speeds = observation[:, :-velocities], observation[:, -velocities:]
            both = np.concatenate([positions, speeds / VELOCITY_SCALE], axis=1)
            return np.clip(both, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)

        np.testing.assert_allclose(first, scaled(np.asarray(theirs.obs)), atol=1e-6)
        rewards = []
        for action in actions_of(environment, 50):
            before = theirs.pipeline_state
            theirs = advance(theirs, action)
            (after,), step = environment.step(keys, (chunk,), action, tasks)
            np.testing.assert_allclose(
                step.final_observation, scaled(np.asarray(theirs.obs)), atol=2e-4
            )
            np.testing.assert_allclose(step.reward, theirs.reward, atol=2e-3)
            np.testing.assert_array_equal(step.terminated, theirs.done > 0.5)
            rewards.append(step.reward)
            # Go on from where brax is.
            physics = jax.tree.map(
                lambda ours, own: ours.at[:COUNT].set(own), after.physics, theirs.pipeline_state
            )
            chunk = after._replace(physics=physics, fresh=jnp.zeros_like(after.fresh))
            assert not np.allclose(before.q, theirs.pipeline_state.q, atol=1e-3)
        assert np.ptp(rewards) > 0.1

    def test_every_parameter_changes_the_motion(self, name, backend):
        environment = environment_of(name, backend)
        tasks = tasks_like(environment)
        for row, field in enumerate(PHYSICS, 1):
            changed = getattr(tasks, field).at[row].set(1.5)
            tasks = tasks._replace(**{field: changed})
        keys = jnp.broadcast_to(jax.random.key(2), (COUNT,))
        actions = actions_of(environment, 12, same=True)
        first, steps, _ = play(environment, keys, tasks, actions)
        motion = steps.final_observation
        np.testing.assert_array_equal(first, first[:1].repeat(COUNT, axis=0))
        # Rows 5 and 6 have brax's own task, as row 0.
        np.testing.assert_array_equal(motion[:, [5, 6]], motion[:, [0, 0]])
        for row, field in enumerate(PHYSICS, 1):
            assert np.abs(motion[:, row] - motion[:, 0]).max() > 1e-3, field
            for other in range(1, row):
                assert np.abs(motion[:, row] - motion[:, other]).max() > 1e-3, field

    def test_the_target_changes_the_reward_alone(self, name, backend):
        environment = environment_of(name, backend)
        keys = jnp.broadcast_to(jax.random.key(2), (COUNT,))
        actions = actions_of(environment, 12, same=True)
        targets = np.zeros(COUNT)
        if name == "halfcheetah":
            targets = np.array([np.inf, -np.inf, 5.0, -5.0, 0.01, -0.01, 1e6])
        else:
            targets = np.array([0.0, -np.pi, np.pi / 2, -np.pi / 2, np.pi / 4, 2.0, np.pi])
        tasks = tasks_like(environment, target=targets)
        _, steps, _ = play(environment, keys, tasks, actions)
        motion = steps.final_observation
        np.testing.assert_array_equal(motion, motion[:, :1].repeat(COUNT, axis=1))
        cost = (0.1 if name == "halfcheetah" else 0.5) * np.square(actions[:, 0]).sum(axis=1)
        rest = (0.0 if name == "halfcheetah" else 1.0) - cost
        gain = steps.reward - rest[:, None]
        forward, backward = gain[:, 0], gain[:, 1]
        assert np.abs(forward).max() > 0.1
        np.testing.assert_allclose(backward, -forward, atol=1e-5)
        distance = steps.info["distance"]
        np.testing.assert_allclose(distance[:, 1], -distance[:, 0], atol=1e-5)
        if name == "halfcheetah":
            for row in range(2, COUNT):
                velocity = np.sign(targets[row]) * forward
                paid = np.minimum(velocity, 2 * abs(targets[row]) - velocity)
                np.testing.assert_allclose(gain[:, row], paid, atol=1e-5)
            assert (gain[:, 4] < forward - 1e-3).any()  # faster than asked
        else:
            sideways = gain[:, 2]
            for row in range(COUNT):
                paid = np.cos(targets[row]) * forward + np.sin(targets[row]) * sideways
                np.testing.assert_allclose(gain[:, row], paid, atol=1e-4)
        # Distances are the path that the velocities make.
        steps_of_path = np.diff(distance[:, 0]) / 0.05
        np.testing.assert_allclose(steps_of_path, forward[1:], atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
class TestBatch:
    def test_rows_know_nothing_of_each_other(self, name):
        """Whatever shares the batch, and in whichever chunk a row is."""
        environment = environment_of(name)
        count = CHUNK_SIZE + 3
        tasks = sample_brax_tasks(name, 5, count)
        keys, actions = keys_of(4, count), actions_of(environment, 6, count)
        first, steps, state = play(environment, keys, tasks, actions)
        assert len(state) == 2
        for row in (0, 1, count - 1):
            own = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], (keys, tasks))
            alone_first, alone, _ = play(environment, *own, actions[:, row : row + 1])
            np.testing.assert_array_equal(alone_first[0], first[row])
            for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(steps), strict=True):
                np.testing.assert_array_equal(one[:, 0], other[:, row])

    def test_equal_keys_give_equal_episodes(self, name):
        environment = environment_of(name)
        tasks, actions = sample_brax_tasks(name, 5, COUNT), actions_of(environment, 6)
        runs = [play(environment, keys_of(seed), tasks, actions) for seed in (0, 0, 1)]
        for one, other in zip(*(jax.tree.leaves(run[:2]) for run in runs[:2]), strict=True):
            np.testing.assert_array_equal(one, other)
        assert not np.isclose(runs[0][0], runs[2][0]).all(axis=1).any()

    def test_compiled_loops_do_the_same(self, name):
        environment = environment_of(name)
        compiled = dataclasses.replace(environment, loop="compiled")
        tasks, keys = sample_brax_tasks(name, 5, COUNT), keys_of()
        actions = actions_of(environment, 6)

        @partial(jax.jit, static_argnums=0)
        def scanned(environment, keys, tasks, actions):
            def one_step(carry, action):
                state, time = carry
                now = jax.vmap(lambda key: jax.random.fold_in(key, time))(keys)
                state, step = environment.step(now, state, action, tasks)
                return (state, time + 1), step

            state, first = environment.reset(keys, tasks)
            return first, jax.lax.scan(one_step, (state, jnp.int32(0)), actions)[1]

        first, steps, _ = play(environment, keys, tasks, actions)
        first_compiled, steps_compiled = scanned(compiled, keys, tasks, actions)
        np.testing.assert_allclose(first_compiled, first, atol=1e-6)
        for one, other in zip(jax.tree.leaves(steps_compiled), jax.tree.leaves(steps), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-3)

    def test_step_returns_the_types_it_takes(self, name):
        """To the last weak type: else a rollout that goes on would be compiled anew."""
        environment = BraxEnvironment(name, loop="compiled")
        keys, tasks = keys_of(), tasks_like(environment)
        action = jnp.zeros((COUNT, environment.action_space.size))
        state, observation = jax.eval_shape(environment.reset, keys, tasks)
        after, step = jax.eval_shape(environment.step, keys, state, action, tasks)

        def types(tree):
            leaves, structure = jax.tree.flatten(tree)
            return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]

        assert types(after) == types(state)
        assert types(step.observation) == types(observation)
        assert step.reward.dtype == jnp.float32


@pytest.mark.slow
class TestEpisodes:
    @pytest.mark.parametrize("name", NAMES)
    def test_end_by_the_limit_alone(self, name):
        environment = environment_of(name)
        tasks, actions = tasks_like(environment), actions_of(environment, 4)
        _, _, (chunk,) = play(environment, keys_of(), tasks, actions)
        late = chunk._replace(time=chunk.time.at[:3].set(MAX_STEPS - 1))
        keys = keys_of(9)
        (after,), step = environment.step(keys, (late,), actions[0], tasks)
        (_,), running = environment.step(keys, (chunk,), actions[0], tasks)
        np.testing.assert_array_equal(step.truncated, np.arange(COUNT) < 3)
        assert not step.terminated.any()
        # What the step led to is told, and what is shown is the start of a new episode.
        np.testing.assert_array_equal(step.final_observation, running.final_observation)
        np.testing.assert_array_equal(step.reward, running.reward)
        np.testing.assert_array_equal(step.observation[3:], step.final_observation[3:])
        fresh, begun = environment.reset(keys, tasks)
        np.testing.assert_array_equal(step.observation[:3], begun[:3])
        np.testing.assert_array_equal(after.time[:COUNT], [0, 0, 0, 5, 5, 5, 5])
        # From here on it is the episode that a reset with these keys would have started.
        _, third = environment.step(keys, (after,), actions[1], tasks)
        _, second = environment.step(keys, fresh, actions[1], tasks)
        np.testing.assert_array_equal(third.final_observation[:3], second.final_observation[:3])
        np.testing.assert_array_equal(third.reward[:3], second.reward[:3])

    def test_ant_ends_where_its_torso_leaves_the_range(self):
        environment = environment_of("ant")
        tasks, actions = tasks_like(environment), actions_of(environment, 4)
        _, _, (chunk,) = play(environment, keys_of(), tasks, actions)
        physics = chunk.physics
        up = jnp.zeros((CHUNK_SIZE, 1, 3)).at[1, 0, 2].set(2.0)
        physics = physics.replace(
            x=physics.x.replace(pos=physics.x.pos + up),
            x_i=physics.x_i.replace(pos=physics.x_i.pos + up),
        )
        time = chunk.time.at[1].set(MAX_STEPS - 1)
        lifted = chunk._replace(physics=physics, time=time)
        _, step = environment.step(keys_of(9), (lifted,), actions[0], tasks)
        np.testing.assert_array_equal(step.terminated, np.arange(COUNT) == 1)
        assert not step.truncated.any()
        assert step.final_observation[1, 0] > 2.0
        assert step.observation[1, 0] < 1.0

    @pytest.mark.parametrize("name", NAMES)
    def test_actions_are_clipped(self, name):
        environment = environment_of(name)
        tasks, actions = tasks_like(environment), jnp.sign(actions_of(environment, 3))
        _, steps, _ = play(environment, keys_of(), tasks, actions)
        _, beyond, _ = play(environment, keys_of(), tasks, 5.0 * actions)
        for one, other in zip(jax.tree.leaves(steps), jax.tree.leaves(beyond), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("name", NAMES)
    def test_numbers_stay_finite_at_the_corners_of_the_ranges(self, name):
        environment = environment_of(name)
        corners = np.array(np.meshgrid(*RANGES.values())).reshape(len(RANGES), -1)
        count = corners.shape[1]
        tasks = BraxTasks(
            *(jnp.asarray(row, jnp.float32) for row in corners),
            sample_brax_tasks(name, 0, count).target,
        )
        _, steps, _ = play(
            environment, keys_of(0, count), tasks, actions_of(environment, 200, count)
        )
        for leaf in jax.tree.leaves(steps):
            assert np.isfinite(leaf).all()
        assert np.abs(steps.reward).max() < 50.0
