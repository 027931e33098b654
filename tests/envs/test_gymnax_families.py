"""Families over any gymnax environment, by name."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.base import Discrete
from pgx_jax.envs.cartpole import cartpole_tasks
from pgx_jax.envs.parameters import load_task_file
from tests.envs.walks import SMALL, family_walk, random_actions, ranges, walk, write

gymnax = pytest.importorskip("gymnax")

from flax import struct  # noqa: E402
from gymnax.environments import environment as gymnax_base  # noqa: E402
from gymnax.environments import spaces as gymnax_spaces  # noqa: E402

from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment  # noqa: E402
from pgx_jax.envs.gymnax_families import gymnax_family, gymnax_parameters  # noqa: E402


class TestGymnaxTasks:
    def test_ranges_and_defaults(self):
        family = gymnax_family(
            "Pendulum-v1", ranges("g=5:15", "m=0.1:10:log"), num_tasks=50, num_test_tasks=20
        )
        default = GymnaxEnvironment("Pendulum-v1").default_task
        for tasks, count in ((family.train_tasks, 50), (family.test_tasks, 20)):
            for leaf, expected in zip(
                jax.tree.leaves(tasks), jax.tree.leaves(default), strict=True
            ):
                assert leaf.shape == (count,)
                assert leaf.dtype == jnp.asarray(expected).dtype
            assert 5 <= tasks.g.min() < 7 < 13 < tasks.g.max() <= 15
            assert 0.1 <= tasks.m.min() < 0.3 < 3 < tasks.m.max() <= 10
            np.testing.assert_array_equal(tasks.l, np.full(count, default.l, np.float32))
        both = [*np.asarray(family.train_tasks.g), *np.asarray(family.test_tasks.g)]
        assert len(set(both)) == 70
        assert family.name == "gymnax:Pendulum-v1"
        assert family.num_tasks == len(set(family.train_names)) == 50
        assert "g U[5, 15], m log-U[0.1, 10]" in family.description

    def test_first_tasks_are_the_same_whatever_their_number(self):
        few, many = (
            gymnax_family("Pendulum-v1", ranges("g=5:15"), num_tasks=count) for count in (3, 8)
        )
        np.testing.assert_array_equal(few.train_tasks.g, many.train_tasks.g[:3])
        assert few.train_names == many.train_names[:3]
        np.testing.assert_array_equal(few.test_tasks.g, many.test_tasks.g)
        other = gymnax_family("Pendulum-v1", ranges("g=5:15"), num_tasks=3, seed=1)
        assert not np.isin(other.train_tasks.g, few.train_tasks.g).any()

    def test_integers_and_booleans_keep_their_type(self):
        family = gymnax_family(
            "DeepSea-bsuite",
            ranges("deterministic=true,false", "max_steps_in_episode=4:8"),
            num_tasks=30,
        )
        tasks = family.train_tasks
        assert tasks.deterministic.dtype == bool
        assert set(np.asarray(tasks.deterministic)) == {True, False}
        assert tasks.max_steps_in_episode.dtype == jnp.int32
        assert set(np.asarray(tasks.max_steps_in_episode)) == {4, 5, 6, 7, 8}

    def test_derived_fields_of_cartpole_follow(self):
        family = gymnax_family("CartPole-v1", ranges("masspole=0.1:1", "length=0.2:2"))
        tasks = family.train_tasks
        expected = cartpole_tasks(9.8, 1.0, tasks.masspole, tasks.length, 10.0)
        for got, wanted in zip(jax.tree.leaves(tasks), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6)
        assert tasks.total_mass.std() > 0.1
        assert tasks.polemass_length.std() > 0.01

    def test_tasks_of_a_file(self, tmp_path):
        file = load_task_file(
            write(
                tmp_path,
                "def tasks(seed, num_tasks):\n"
                "    return [{'masscart': 1.0 + i, 'tau': 0.01} for i in range(num_tasks)]\n",
            )
        )
        tasks = gymnax_family("CartPole-v1", file, **SMALL).train_tasks
        np.testing.assert_allclose(tasks.masscart, [1, 2, 3, 4])
        np.testing.assert_allclose(tasks.total_mass, [1.1, 2.1, 3.1, 4.1])
        np.testing.assert_allclose(tasks.tau, np.full(4, 0.01))

    @pytest.mark.parametrize(
        ("name", "texts", "message"),
        [
            ("CartPole-v2", ["length=1:2"], r'no environment "CartPole-v2"; .* "CartPole-v1"\?'),
            ("CartPole-v1", ["lenght=1:2"], r'no parameter "lenght"; did you mean "length"\?'),
            ("CartPole-v1", ["zzzz=1:2"], r"Its parameters: .*gravity = 9\.8, masscart = 1,"),
            ("CartPole-v1", [], r"all tasks would be the same.*gravity = 9\.8"),
            ("CartPole-v1", ["length=1"], "all tasks would be the same"),
            ("CartPole-v1", ["total_mass=1:2"], "follows from masscart . masspole"),
            ("CartPole-v1", ["max_steps_in_episode=0:5"], "has to be 1 or more"),
            ("CartPole-v1", ["max_steps_in_episode=1.5:5"], "is an integer; 1.5 is not"),
            ("Acrobot-v1", ["available_torque=1:2"], r"array of shape \(3,\)"),
            ("Asterix-MinAtar", ["ramping=0:1"], "give ramping=true,false"),
        ],
    )
    def test_what_is_wrong_is_said(self, name, texts, message):
        with pytest.raises(ValueError, match=message):
            gymnax_family(name, ranges(*texts), num_tasks=50)

    def test_gymnasium_settings_of_a_file_are_refused(self, tmp_path):
        file = write(tmp_path, "ranges = {'length': (1, 2)}\nmax_episode_steps = 30\n")
        with pytest.raises(ValueError, match="vary or fix max_steps_in_episode instead"):
            gymnax_family("CartPole-v1", load_task_file(file))


class TestGymnaxDynamics:
    @pytest.mark.parametrize("name", ["g", "m", "l", "dt", "max_torque"])
    def test_each_parameter_of_pendulum_changes_it(self, name):
        low = {"g": 5, "m": 0.5, "l": 0.5, "dt": 0.02, "max_torque": 0.5}[name]
        family = gymnax_family("Pendulum-v1", ranges(f"{name}={low}:{2 * low}"), num_tasks=2)
        first, result = family_walk(family)
        np.testing.assert_array_equal(first[0], first[1])
        assert np.abs(result.observation[:, 0] - result.observation[:, 1]).max() > 1e-3

    def test_bounds_of_an_action_are_the_tasks_own(self):
        """Pendulum's torque changes the speed by 3 u dt / (m l²) at every step."""
        family = gymnax_family("Pendulum-v1", ranges("max_torque=1,4"), num_tasks=8)
        torque = np.asarray(family.train_tasks.max_torque)
        speed = [
            family_walk(family, jnp.full((1, 8, 1), action))[1].observation[0, :, 2]
            for action in (0.0, 0.5, 1.0, 7.0)
        ]
        np.testing.assert_allclose(speed[1] - speed[0], 0.5 * torque * 0.15, rtol=1e-4)
        np.testing.assert_allclose(speed[2] - speed[0], torque * 0.15, rtol=1e-4)
        np.testing.assert_array_equal(speed[3], speed[2])
        assert set(torque) == {1, 4}

    def test_limits_differ_and_the_largest_is_the_horizon(self):
        family = gymnax_family(
            "Pendulum-v1", ranges("max_steps_in_episode=5,9", "g=5:15"), num_tasks=8
        )
        assert family.environment.max_episode_steps == 9
        assert GymnaxEnvironment("Pendulum-v1").max_episode_steps == 200
        _, result = family_walk(family, steps=20)
        for task, limit in enumerate(np.asarray(family.train_tasks.max_steps_in_episode)):
            ends = np.flatnonzero(result.truncated[:, task]) + 1
            np.testing.assert_array_equal(ends, np.arange(limit, 21, limit))
        assert not result.terminated.any()

    def test_smaller_limits_make_a_smaller_horizon(self):
        family = gymnax_family("Pendulum-v1", ranges("max_steps_in_episode=5:9"), num_tasks=9)
        longest = max(family.train_tasks.max_steps_in_episode.tolist())
        held_out = max(family.test_tasks.max_steps_in_episode.tolist())
        assert family.environment.max_episode_steps == max(longest, held_out)

    def test_equal_families_have_equal_environments(self):
        one, other = (gymnax_family("Pendulum-v1", ranges("g=5:15")) for _ in range(2))
        assert one.environment == other.environment
        assert hash(one.environment) == hash(other.environment)

    def test_number_of_a_state_becomes_its_indicator(self):
        environment = GymnaxEnvironment("FrozenLake-misc")
        assert environment.observation_shape == (16,)
        tasks = jax.tree.map(lambda leaf: jnp.full(3, leaf), environment.default_task)
        actions = random_actions(Discrete(4), 30, 3)
        first, result = walk(environment, jax.random.split(jax.random.key(0), 3), tasks, actions)
        np.testing.assert_array_equal(first, np.eye(16)[[0, 0, 0]])
        np.testing.assert_array_equal(result.observation.sum(axis=-1), np.ones((30, 3)))
        assert (np.asarray(result.observation).argmax(axis=-1) != 0).any()

    def test_step_returns_the_types_it_takes(self):
        """To the last weak type: else a rollout that goes on would be compiled anew."""
        for name in ("FourRooms-misc", "Catch-bsuite", "MountainCarContinuous-v0"):
            environment = GymnaxEnvironment(name)
            tasks = jax.tree.map(
                lambda leaf: jnp.full((2, *jnp.shape(leaf)), leaf), environment.default_task
            )
            keys = jax.random.split(jax.random.key(0))
            action = random_actions(environment.action_space, 1, 2)[0]
            state, observation = jax.eval_shape(environment.reset, keys, tasks)
            after, result = jax.eval_shape(environment.step, keys, state, action, tasks)

            def types(tree):
                return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]

            assert types(after) == types(state)
            assert types(result.observation) == types(observation)
            assert types(result.final_observation) == types(observation)


SOME = {"MountainCarContinuous-v0", "PointRobot-misc", "FourRooms-misc", "DiscountingChain-bsuite"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SOME else pytest.mark.slow)
        for name in gymnax.registered_envs
        # It downloads its pictures.
        if name != "MNISTBandit-bsuite"
    ],
)
def test_every_gymnax_environment_runs(name):
    environment = GymnaxEnvironment(name)
    count, steps = 3, 50
    limit = gymnax_parameters(name)["max_steps_in_episode"].default
    family = gymnax_family(
        name, ranges(f"max_steps_in_episode={limit:g}:{2 * limit:g}:int"), num_tasks=count
    )
    keys = jax.random.split(jax.random.key(0), count)
    actions = random_actions(environment.action_space, steps, count)
    first, result = walk(family.environment, keys, family.train_tasks, actions)
    assert first.shape == (count, *environment.observation_shape)
    for observation in (result.observation, result.final_observation):
        assert observation.shape == (steps, count, *environment.observation_shape)
        assert observation.dtype == first.dtype == jnp.float32
        assert jnp.isfinite(observation).all()
    assert result.reward.shape == result.terminated.shape == (steps, count)
    assert result.reward.dtype == jnp.float32
    assert jnp.isfinite(result.reward).all()
    assert result.terminated.dtype == result.truncated.dtype == bool


@struct.dataclass
class SlideState(gymnax_base.EnvState):
    position: jax.Array


@dataclass(frozen=True)
class Shape:
    width: float = 1.0


@struct.dataclass
class SlideParams(gymnax_base.EnvParams):
    max_steps_in_episode: int = 20
    speed: float = 1  # an integer that is declared a float
    mode: str = struct.field(pytree_node=False, default="plain")
    shape: Shape = struct.field(pytree_node=False, default=Shape())
    negative: bool = False


class Slide(gymnax_base.Environment):
    """A point that an action from 0 to 2 moves; ``fault`` says what is wrong with it."""

    def __init__(self, fault=""):
        super().__init__()
        if fault == "make":
            raise RuntimeError("no licence")
        self.fault = fault

    @property
    def default_params(self):
        return SlideParams()

    def step_env(self, key, state, action, params):
        if self.fault == "branch" and params.negative:
            action = -action
        sign = jnp.where(params.negative, -1.0, 1.0)
        position = state.position + sign * params.speed * (action - 1)
        state = SlideState(position=position, time=state.time + 1)
        shape = (3,) if self.fault == "step" else (2,)
        observation = jnp.full(shape, position)
        return observation, state, position, jnp.array(False), {}

    def reset_env(self, key, params):
        state = SlideState(position=jnp.array(0.0), time=0)
        observation = jnp.zeros(2)
        return ({"a": observation} if self.fault == "dict" else observation), state

    def action_space(self, params):
        if self.fault == "unbounded":
            return gymnax_spaces.Box(-jnp.inf, jnp.inf, (1,))
        return gymnax_spaces.Discrete(3)

    def observation_space(self, params):
        # The declared shape is wrong; a reset's counts.
        return gymnax_spaces.Box(-1, 1, (7,))


@pytest.fixture
def registered():
    """Registers gymnax environments, for one test."""
    names = []

    def register(fault=""):
        name = f"Slide-{fault}-{len(names)}"
        gymnax.register(name, lambda: Slide(fault))
        names.append(name)
        return name

    yield register
    from gymnax import registration

    from pgx_jax.envs import gymnax_adapter

    for name in names:
        registration._registry.pop(name)
        registration.registered_envs.remove(name)
    gymnax_adapter._load.cache_clear()


class TestOwnGymnaxEnvironment:
    def test_by_name(self, registered):
        family = gymnax_family(registered(), ranges("speed=1:3", "negative=true,false"), **SMALL)
        assert family.environment.observation_shape == (2,)
        tasks = family.train_tasks
        assert tasks.speed.dtype == jnp.float32
        _, result = family_walk(family, jnp.full((3, 4), 2))
        sign = np.where(tasks.negative, -1, 1)
        np.testing.assert_allclose(result.reward[2], 3 * sign * tasks.speed, rtol=1e-6)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mode=plain,wild", '"mode" cannot vary: it is static'),
            ("shape=1:2", '"shape" cannot vary: it is static'),
        ],
    )
    def test_static_parameters(self, registered, text, message):
        with pytest.raises(ValueError, match=message):
            gymnax_family(registered(), ranges(text))

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("make", 'cannot make environment "Slide-make-0": RuntimeError: no licence'),
            ("dict", "only arrays are supported"),
            ("unbounded", "only Discrete and bounded Box are supported"),
            ("branch", "cannot be batched over its parameters: TracerBoolConversionError"),
            ("step", "cannot be batched over its parameters: TypeError"),
        ],
    )
    def test_what_cannot_work_says_so(self, registered, fault, message):
        with pytest.raises(ValueError, match=message) as caught:
            gymnax_family(registered(fault), ranges("speed=1:3"), **SMALL)
        assert "\n" not in str(caught.value)
