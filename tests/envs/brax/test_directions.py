"""Brax families with one physics: their rewards, draws and descriptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("brax")

from pgx_jax.envs.brax.adapter import BraxEnvironment, BraxTasks
from pgx_jax.envs.brax.directions import (
    brax_ant_direction,
    brax_halfcheetah_direction,
    brax_halfcheetah_velocity,
    target_tasks,
)
from pgx_jax.envs.brax.families import ANGLE_RANGE, RANGES

MAKERS = {
    "brax-halfcheetah-direction": brax_halfcheetah_direction,
    "brax-halfcheetah-velocity": brax_halfcheetah_velocity,
    "brax-ant-direction": brax_ant_direction,
}
DESCRIPTIONS = {
    "brax-halfcheetah-direction": (
        "brax halfcheetah: forwards or backwards with probability 1/2, physics fixed"
    ),
    "brax-halfcheetah-velocity": "brax halfcheetah: target velocity U[0, 2] m/s, physics fixed",
    "brax-ant-direction": "brax ant: direction U[-π, π), physics fixed",
}
FIRST = {
    # the first source task, the first held-out one, the first name
    "brax-halfcheetah-direction": (np.inf, np.inf, "1: forwards"),
    "brax-halfcheetah-velocity": (1.27392, 1.02364, "1: v=1.27"),
    "brax-ant-direction": (0.86056, 0.07428, "1: angle=+0.86"),
}


@pytest.mark.parametrize("name", MAKERS)
class TestTasks:
    def test_published_family(self, name):
        family = MAKERS[name]()
        source, held_out, first_name = FIRST[name]
        assert family.name == name
        assert family.description == DESCRIPTIONS[name]
        assert family.num_tasks == 10
        assert family.test_tasks.target.shape == (50,)
        assert family.train_names[0] == first_name
        np.testing.assert_allclose(family.train_tasks.target[0], source, atol=1e-4)
        np.testing.assert_allclose(family.test_tasks.target[0], held_out, atol=1e-4)
        assert "backend spring" in family.notes[0]

    def test_the_physics_is_braxs(self, name):
        family = MAKERS[name]()
        for field in RANGES:
            for tasks in (family.train_tasks, family.test_tasks):
                np.testing.assert_array_equal(getattr(tasks, field), 1.0)

    def test_the_first_are_the_same_whatever_their_number(self, name):
        few, many = MAKERS[name](num_tasks=4), MAKERS[name](num_tasks=9)
        np.testing.assert_array_equal(few.train_tasks.target, many.train_tasks.target[:4])

    def test_backend_is_named_and_checked(self, name):
        assert MAKERS[name](backend="positional").environment.backend == "positional"
        with pytest.raises(ValueError, match='unknown brax backend "pybullet"'):
            MAKERS[name](backend="pybullet")


def test_distributions():
    many = {name: make(num_tasks=4000).train_tasks.target for name, make in MAKERS.items()}
    direction = np.asarray(many["brax-halfcheetah-direction"])
    assert set(direction) == {-np.inf, np.inf}
    assert (direction > 0).mean() == pytest.approx(0.5, abs=0.03)
    for name, (low, high) in (
        ("brax-halfcheetah-velocity", (0.0, 2.0)),
        ("brax-ant-direction", ANGLE_RANGE),
    ):
        target = np.asarray(many[name])
        assert low <= target.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < target.max() <= high + 1e-6
        assert target.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_groups_are_the_directions():
    family = brax_halfcheetah_direction()
    np.testing.assert_array_equal(family.groups, [1, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    assert brax_halfcheetah_velocity().groups is None
    assert brax_ant_direction().groups is None


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_rewards_are_the_papers_plus_a_constant(name):
    """Velocities are told by the distances of tasks that share the motion."""
    family = MAKERS[name](num_tasks=6, num_test_tasks=1)
    robot = family.environment.name
    environment = BraxEnvironment(robot, loop="python")
    # Brax's own task, forwards along x, and along y for the ant, tell the velocity.
    measures = [np.inf] if robot == "halfcheetah" else [0.0, np.pi / 2]
    target = jnp.concatenate([jnp.asarray(measures, jnp.float32), family.train_tasks.target])
    tasks = target_tasks(np.asarray(target))
    assert isinstance(tasks, BraxTasks)
    count = len(target)
    keys = jnp.broadcast_to(jax.random.key(0), (count,))
    actions = jax.random.uniform(jax.random.key(1), (15, 1, environment.action_space.size))
    state, _ = environment.reset(keys, tasks)
    rewards, distances = [], []
    for action in 2 * actions - 1:
        state, result = environment.step(
            keys, state, jnp.broadcast_to(action, (count, action.shape[-1])), tasks
        )
        rewards.append(np.asarray(result.reward, np.float64))
        distances.append(np.asarray(result.info["distance"], np.float64))
    rewards, distances = np.stack(rewards)[1:], np.stack(distances)
    velocity = np.diff(distances[:, : len(measures)], axis=0) / 0.05
    square = np.square(2 * np.asarray(actions, np.float64)[1:, 0] - 1).sum(axis=1)
    rest = -0.1 * square if robot == "halfcheetah" else 1.0 - 0.5 * square
    for row, aim in enumerate(np.float64(target[len(measures) :]), len(measures)):
        if name == "brax-halfcheetah-direction":
            expected = np.sign(aim) * velocity[:, 0]
        elif name == "brax-halfcheetah-velocity":
            expected = aim - np.abs(velocity[:, 0] - aim)
        else:
            expected = np.cos(aim) * velocity[:, 0] + np.sin(aim) * velocity[:, 1]
        np.testing.assert_allclose(rewards[:, row] - rest, expected, atol=2e-2)
