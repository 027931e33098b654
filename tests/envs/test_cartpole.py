"""CartPole against Gymnasium's, and its families against their published distributions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from scipy import stats

from pgx_jax.envs.cartpole import (
    RANGES,
    cartpole,
    cartpole_planted,
    cartpole_tasks,
    sample_cartpole_tasks,
)

ENVIRONMENT = cartpole(num_tasks=1, num_test_tasks=1).environment
DEFAULT = {"gravity": 9.8, "masscart": 1.0, "masspole": 0.1, "length": 0.5, "force_mag": 10.0}
PHYSICS = {
    "default": {},
    "moon": {"gravity": 1.62},
    "heavy cart": {"masscart": 4.0},
    "heavy pole": {"masspole": 0.9},
    "long pole": {"length": 2.5},
    "inverted": {"force_mag": -10.0},
    "all": {
        "gravity": 18.0,
        "masscart": 0.4,
        "masspole": 0.7,
        "length": 0.2,
        "force_mag": 30.0,
    },
}
VALUES = [{**DEFAULT, **changes} for changes in PHYSICS.values()]
B = len(VALUES)
TASKS = cartpole_tasks(*(np.array([value[name] for value in VALUES]) for name in DEFAULT))
KEYS = jax.random.split(jax.random.key(0), B)
STEPS = 60


@partial(jax.jit, static_argnums=0)
def step(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def state_at(observations):
    """The adapter's state that shows ``observations`` float[B, 4]."""
    state, _ = ENVIRONMENT.reset(KEYS, TASKS)
    x, x_dot, theta, theta_dot = jnp.asarray(observations, jnp.float32).T
    return state.replace(x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot)


def gymnasium_env(physics):
    env = CartPoleEnv()
    for name, value in physics.items():
        setattr(env, name, value)
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    return env


def test_one_step_equals_gymnasium():
    rng = np.random.default_rng(0)
    envs = [gymnasium_env(physics) for physics in VALUES]
    ends = 0
    for _ in range(40):
        before = rng.uniform([-2.5, -3, -0.22, -3], [2.5, 3, 0.22, 3], (B, 4)).astype(np.float32)
        action = rng.integers(0, 2, B)
        _, result = step(ENVIRONMENT, KEYS, state_at(before), jnp.asarray(action), TASKS)
        for index, env in enumerate(envs):
            env.state, env.steps_beyond_terminated = np.float64(before[index]), None
            expected, reward, terminated, *_ = env.step(action[index])
            np.testing.assert_allclose(result.final_observation[index], expected, atol=1e-4)
            assert result.terminated[index] == terminated
            assert not result.truncated[index]
            if abs(before[index, 0]) < 2.4 and abs(before[index, 2]) < 0.2:
                assert result.reward[index] == reward
            ends += terminated
    assert 0 < ends < 40 * B


def test_many_steps_equal_gymnasium():
    """Every environment's first episode, step by step from the same state, to its end."""
    rng = np.random.default_rng(1)
    before = rng.uniform(-0.05, 0.05, (B, 4)).astype(np.float32)
    state = state_at(before)
    envs = [gymnasium_env(physics) for physics in VALUES]
    for index, env in enumerate(envs):
        env.state = np.float64(before[index])
    running = np.ones(B, bool)
    for _ in range(STEPS):
        action = rng.integers(0, 2, B)
        state, result = step(ENVIRONMENT, KEYS, state, jnp.asarray(action), TASKS)
        for index in np.flatnonzero(running):
            expected, reward, terminated, *_ = envs[index].step(action[index])
            np.testing.assert_allclose(
                result.final_observation[index], expected, rtol=1e-4, atol=1e-4
            )
            assert result.terminated[index] == terminated
            assert result.reward[index] == reward
            running[index] = not terminated
    assert not running.all()


def test_episode_of_500_steps_is_truncated():
    upright = TASKS.replace(
        theta_threshold_radians=jnp.full(B, jnp.inf), x_threshold=jnp.full(B, jnp.inf)
    )

    @jax.jit
    def run(keys, tasks):
        def one_step(state, time):
            return ENVIRONMENT.step(keys, state, jnp.full(B, time % 2), tasks)

        return jax.lax.scan(one_step, ENVIRONMENT.reset(keys, tasks)[0], jnp.arange(1001))[1]

    result = run(KEYS, upright)
    limit = ENVIRONMENT.max_episode_steps
    assert limit == 500
    assert not result.terminated.any()
    times = np.argwhere(np.asarray(result.truncated[:, 0])).ravel()
    np.testing.assert_array_equal(times, [limit - 1, 2 * limit - 1])
    assert np.asarray(result.truncated).all(axis=1).sum() == 2
    assert np.abs(result.observation[limit - 1]).max() <= 0.05
    assert (np.abs(result.final_observation[limit - 1]).max(axis=1) > 0.05).all()


def test_terminated_at_the_limit_is_not_truncated():
    state = state_at(np.full((B, 4), [2.39, 3.0, 0.0, 0.0]))
    state = state.replace(time=jnp.full(B, 499))
    _, result = step(ENVIRONMENT, KEYS, state, jnp.ones(B, int), TASKS)
    assert result.terminated.all()
    assert not result.truncated.any()


def test_derived_fields_are_recomputed():
    np.testing.assert_allclose(
        TASKS.total_mass, [v["masscart"] + v["masspole"] for v in VALUES], rtol=1e-6
    )
    np.testing.assert_allclose(
        TASKS.polemass_length, [v["masspole"] * v["length"] for v in VALUES], rtol=1e-6
    )
    for tasks in (cartpole().train_tasks, cartpole_planted().train_tasks):
        np.testing.assert_allclose(tasks.total_mass, tasks.masscart + tasks.masspole, rtol=1e-6)
        np.testing.assert_allclose(tasks.polemass_length, tasks.masspole * tasks.length, rtol=1e-6)


def test_default_quantities_give_gymnax_defaults():
    default = ENVIRONMENT.default_task
    ours = jax.tree.map(lambda leaf: leaf[0], TASKS)
    for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(default), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_scalars_are_spread_over_tasks():
    tasks = cartpole_tasks(9.8, jnp.array([1.0, 2.0]), 0.1, 0.5, 10.0)
    assert {leaf.shape for leaf in jax.tree.leaves(tasks)} == {(2,)}
    np.testing.assert_allclose(tasks.total_mass, [1.1, 2.1], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(DEFAULT))
def test_each_quantity_changes_the_dynamics(name):
    # B copies of the default task, the quantity halved in the last.
    values = {other: np.full(B, value) for other, value in DEFAULT.items()}
    values[name][-1] /= 2
    tasks = cartpole_tasks(**values)
    state = state_at(np.full((B, 4), [0.1, 0.2, 0.1, -0.3]))
    _, result = step(ENVIRONMENT, KEYS, state, jnp.ones(B, int), tasks)
    after = np.asarray(result.final_observation)
    np.testing.assert_array_equal(after[0], after[1])
    assert np.abs(after[0] - after[-1]).max() > 1e-3


class TestNaturalFamily:
    SAMPLES = 2000

    @pytest.fixture(scope="class")
    def unit(self):
        """Quantities by name, brought to what should be U[0, 1]."""
        tasks = sample_cartpole_tasks(jax.random.key(0), self.SAMPLES)
        result = {}
        for name, (low, high) in RANGES.items():
            value = np.asarray(getattr(tasks, name), np.float64)
            if name == "gravity":
                result[name] = (value - low) / (high - low)
            else:
                result[name] = np.log(value / low) / np.log(high / low)
        return result

    @pytest.mark.parametrize("name", sorted(RANGES))
    def test_published_ranges_and_distribution(self, unit, name):
        assert unit[name].min() >= -1e-6
        assert unit[name].max() <= 1 + 1e-6
        assert stats.kstest(unit[name], "uniform").pvalue > 0.01

    def test_the_distribution_test_tells_log_uniform_from_uniform(self, unit):
        low, high = RANGES["force_mag"]
        value = low * (high / low) ** unit["force_mag"]
        assert stats.kstest((value - low) / (high - low), "uniform").pvalue < 1e-6

    def test_quantities_are_independent(self, unit):
        correlation = np.corrcoef(np.stack(list(unit.values())))
        assert np.abs(correlation - np.eye(len(RANGES))).max() < 4 / np.sqrt(self.SAMPLES)

    def test_names_state_the_task(self):
        family = cartpole()
        for index, name in enumerate(family.train_names):
            gravity, length, force = (part.split("=")[1] for part in name.split()[1:])
            tasks = family.train_tasks
            assert float(gravity) == pytest.approx(float(tasks.gravity[index]), abs=0.051)
            assert float(length) == pytest.approx(float(tasks.length[index]), abs=0.0051)
            assert float(force) == pytest.approx(float(tasks.force_mag[index]), abs=0.051)

    def test_published_family_has_no_twins(self):
        assert len(set(cartpole().train_names)) == 10


class TestPlantedFamily:
    @pytest.fixture(scope="class")
    def family(self):
        return cartpole_planted()

    def test_sizes(self, family):
        np.testing.assert_array_equal(np.bincount(family.groups), [4, 3, 3])
        assert family.num_tasks == 10

    def test_fewest_tasks(self):
        family = cartpole_planted(num_tasks=3, num_test_tasks=1)
        np.testing.assert_array_equal(family.groups, [0, 1, 2])

    def test_inverted_group_alone_has_negative_force(self, family):
        force = np.asarray(family.train_tasks.force_mag)
        np.testing.assert_array_equal(force < 0, family.groups == 1)

    def test_quantities_stay_near_their_group(self, family):
        tasks = family.train_tasks
        heavy = family.groups == 2
        for name, normal, planted in (
            ("gravity", 9.8, 15.0),
            ("masscart", 1.0, 5.0),
            ("masspole", 0.1, 1.0),
            ("length", 0.5, 3.0),
        ):
            factor = np.asarray(getattr(tasks, name)) / np.where(heavy, planted, normal)
            assert factor.min() >= 1 / 1.1 - 1e-6
            assert factor.max() <= 1.1 + 1e-6
            assert factor.std() > 0.01  # and yet no two tasks of a group are the same

    def test_names_follow_groups(self, family):
        kinds = ("normal", "inverted", "heavy")
        expected = [kinds[group] for group in family.groups]
        assert [name.split()[0] for name in family.train_names] == expected
        assert family.train_names[:5] == (
            "normal 1",
            "normal 2",
            "normal 3",
            "normal 4",
            "inverted 1",
        )

    @pytest.mark.parametrize("num_tasks", [0, 2])
    def test_too_few_tasks(self, num_tasks):
        with pytest.raises(ValueError, match=f"num_tasks is {num_tasks}; .* at least 3"):
            cartpole_planted(num_tasks=num_tasks)
