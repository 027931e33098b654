"""Families over any gymnax and any Gymnasium environment, by name."""

import pickle
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.base import Box, Discrete
from pgx_jax.envs.cartpole import cartpole_tasks
from pgx_jax.envs.host.environment import HostEnvironmentError
from pgx_jax.envs.parameters import load_task_file, parse_ranges

gymnax = pytest.importorskip("gymnax")
gymnasium = pytest.importorskip("gymnasium")

from flax import struct  # noqa: E402
from gymnax.environments import environment as gymnax_base  # noqa: E402
from gymnax.environments import spaces as gymnax_spaces  # noqa: E402

from pgx_jax.envs.gymnasium_families import gymnasium_family  # noqa: E402
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment  # noqa: E402
from pgx_jax.envs.gymnax_families import gymnax_family, gymnax_parameters  # noqa: E402
from pgx_jax.envs.host.gymnasium_maker import (  # noqa: E402
    GymnasiumMaker,
    PlainEnvironment,
    find_spec,
)

SMALL = {"num_tasks": 4, "num_test_tasks": 3}


def ranges(*texts):
    return parse_ranges(texts)


def write(tmp_path, text, name="tasks.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


@partial(jax.jit, static_argnums=0)
def walk(environment, keys, tasks, actions):
    """Steps of B environments under actions [T, B, ...] -> first observation, TimeStep [T, B]."""

    def one_step(state, given):
        time, action = given
        now = jax.vmap(lambda key: jax.random.fold_in(key, time))(keys)
        return environment.step(now, state, action, tasks)

    state, observation = environment.reset(keys, tasks)
    times = jnp.arange(actions.shape[0])
    return observation, jax.lax.scan(one_step, state, (times, actions))[1]


def same_keys(count, seed=0):
    return jnp.broadcast_to(jax.random.key(seed), (count,))


def random_actions(space, steps, count, seed=0):
    """The same random actions for all environments."""
    rng = np.random.default_rng(seed)
    if isinstance(space, Box):
        own = rng.uniform(-1, 1, (steps, 1, space.size)).astype(np.float32)
        return jnp.asarray(np.repeat(own, count, axis=1))
    return jnp.asarray(np.repeat(rng.integers(0, space.num_actions, (steps, 1)), count, axis=1))


def family_walk(family, actions=None, *, steps=50, seed=0):
    """All source tasks from the same key."""
    count = family.num_tasks
    if actions is None:
        actions = random_actions(family.environment.action_space, steps, count)
    result = walk(family.environment, same_keys(count, seed), family.train_tasks, actions)
    if hasattr(family.environment, "check"):
        family.environment.check()
    return jax.tree.map(np.asarray, result)


# gymnax


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
    gymnax_adapter._make.cache_clear()


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


# Gymnasium

POINT = '''
import gymnasium
import numpy as np

made, closed = [], []


class Point(gymnasium.Env):
    """A point that is pushed; it is at a wall after it has gone ``wall`` far."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(
        self, force: float = 1.0, size: int = 2, wall=3, start=0, kind="box", fault="",
        render_mode=None,
    ):
        made.append(self)
        self.force, self.size, self.wall, self.fault = force, size, wall, fault
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-wall, wall, (size,), np.float64)
        if kind == "discrete":
            self.action_space = gymnasium.spaces.Discrete(3, start=start)
        elif kind == "integers":
            self.action_space = gymnasium.spaces.Box(-4, 4, (1,), np.int64)
        else:
            self.action_space = gymnasium.spaces.Box(-force, force, (1,), np.float32)
        if fault == "bytes":
            self.observation_space = gymnasium.spaces.Box(0, 255, (size,), np.uint8)
        if fault == "observations":
            self.observation_space = gymnasium.spaces.Discrete(4)
        if fault == "unbounded":
            self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
        if fault == "make":
            raise RuntimeError("no licence\\nat all")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = float(self.np_random.uniform(-0.1, 0.1))
        if self.fault == "bytes":
            self.position = 7.0
        return self.seen(), {"note": "not a number"}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        self.action = action
        self.position += float(np.asarray(action).item())
        done = abs(self.position) >= self.wall
        info = {"text": "not a number", "shape": np.zeros(int(self.force))}
        if done:
            info["success"] = np.array([self.position > 0])
        return self.seen(), np.array([self.position]), done, False, info

    def seen(self):
        return np.full(self.size, self.position, self.observation_space.dtype)

    def render(self):
        return np.full((8, 8, 3), int(50 * abs(self.position)) % 255, np.uint8)

    def close(self):
        closed.append(self)


gymnasium.register("PgxPoint-v0", Point, max_episode_steps=MAX)
'''


@pytest.fixture
def point_file(tmp_path):
    """Writes a file that registers Point and says what varies."""

    def make(more="ranges = {'force': (1.0, 4.0)}", limit=20):
        gymnasium.registry.pop("PgxPoint-v0", None)
        return load_task_file(
            write(tmp_path, POINT.replace("MAX", str(limit)) + more, f"point_{len(more)}.py")
        )

    yield make
    gymnasium.registry.pop("PgxPoint-v0", None)


def point_family(file, **options):
    return gymnasium_family("PgxPoint-v0", file, **{**SMALL, **options})


def module_of(file):
    from pgx_jax.envs.task_files import run_task_file

    return run_task_file(file.path)


class TestGymnasiumTasks:
    def test_own_environment_by_name(self, point_file):
        file = point_file()
        family = point_family(file)
        module = module_of(file)
        # One environment was looked at, and closed.
        assert len(module.made) == 1
        assert module.closed == module.made
        environment = family.environment
        assert environment.observation_shape == (2,)
        assert environment.action_space == Box(1)
        assert environment.max_episode_steps == 20
        assert family.name == "gymnasium:PgxPoint-v0"
        assert family.notes == ("backend gymnasium",)
        assert len(set(family.train_names)) == 4
        forces = [float(name.split("=")[1]) for name in family.train_names]
        start, result = family_walk(family, jnp.ones((1, 4, 1)))
        moved = result.final_observation[0, :, 0] - start[:, 0]
        np.testing.assert_allclose(moved, forces, atol=0.01)
        assert len(set(forces)) == 4
        family.close()
        assert len(module.closed) == len(module.made) == 5

    def test_tasks_of_a_file(self, point_file):
        file = point_file(
            "def tasks(seed, num_tasks):\n"
            "    return [{'force': 1.0 + seed + i, 'wall': 100.0} for i in range(num_tasks)]\n"
        )
        family = point_family(file, seed=2)
        start, result = family_walk(family, jnp.ones((1, 4, 1)))
        moved = result.final_observation[0, :, 0] - start[:, 0]
        np.testing.assert_allclose(moved, [5, 6, 7, 8], rtol=1e-5)
        tasks = family.test_tasks
        _, result = walk(family.environment, same_keys(3), tasks, jnp.ones((1, 3, 1)))
        moved = np.asarray(result.final_observation)[0, :, 0] - start[:3, 0]
        np.testing.assert_allclose(moved, [6, 7, 8], rtol=1e-5)
        family.close()

    def test_parameters_by_annotation(self, point_file):
        file = point_file("ranges = {'force': '1:4', 'wall': '2:5', 'start': (0, 2.5)}")
        description = point_family(file).description
        assert "force U[1, 4], wall integer U[2, 5], start U[0, 2.5]" in description

    def test_first_tasks_are_the_same_whatever_their_number(self, point_file):
        file = point_file()
        few, many = (point_family(file, num_tasks=count) for count in (2, 5))
        assert many.train_names[:2] == few.train_names
        assert not set(few.train_names) & set(point_family(file, seed=1).train_names)

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("ranges = {'forse': (1, 4)}", r'no parameter "forse"; did you mean "force"\?'),
            ("ranges = {'zzzz': (1, 4)}", r"force = 1, size = 2, wall = 3, start = 0, kind = box"),
            ("ranges = {}", r"all tasks would be the same.*force = 1, size = 2"),
            ("ranges = {'render_mode': [None, 'rgb_array']}", 'no parameter "render_mode"'),
            (
                "ranges = {'force': (1, 2), 'fault': 'observations'}",
                r"has observations Discrete\(4\); only Box is supported",
            ),
            (
                "ranges = {'force': (1, 2), 'fault': 'unbounded'}",
                "only Discrete and bounded Box are supported",
            ),
            (
                "ranges = {'force': (1, 2), 'fault': 'make'}",
                r"cannot make .PgxPoint-v0. with .* RuntimeError: no licence$",
            ),
            (
                "ranges = {'force': (1, 2)}\ninfo_names = ('success',)\nmetric = 'success'\n"
                "max_episode_steps = 'many'",
                "max_episode_steps is 'many'",
            ),
        ],
    )
    def test_what_is_wrong_is_said(self, point_file, more, message):
        with pytest.raises(ValueError, match=message) as caught:
            point_family(point_file(more))
        assert "\n" not in str(caught.value)

    def test_failed_probe_is_closed(self, point_file):
        file = point_file("ranges = {'force': (1, 2), 'fault': 'unbounded'}")
        with pytest.raises(ValueError, match="bounded Box"):
            point_family(file)
        assert module_of(file).closed == module_of(file).made != []

    def test_no_limit(self, point_file):
        file = point_file(limit=None)
        with pytest.raises(ValueError, match="has no episode limit; give max_episode_steps"):
            point_family(file)
        assert point_family(file, max_episode_steps=7).environment.max_episode_steps == 7

    def test_limit_of_the_file(self, point_file):
        file = point_file("ranges = {'force': (0.01, 0.02)}\nmax_episode_steps = 6")
        family = point_family(file)
        assert family.environment.max_episode_steps == 6
        _, result = family_walk(family, steps=13)
        np.testing.assert_array_equal(np.flatnonzero(result.truncated[:, 0]), [5, 11])
        family.close()
        assert point_family(file, max_episode_steps=7).environment.max_episode_steps == 7

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("CartPol-v1", r'unknown environment "CartPol-v1".*nearest id is "CartPole-v1"'),
            ("CartPole-v9", r"version `v9`.*nearest id is"),
            ("CartPole", r'nearest id is "CartPole-v1"'),
            ("what is this", r'unknown environment "what is this"'),
        ],
    )
    def test_unknown_id(self, name, message):
        with pytest.raises(ValueError, match=message) as caught:
            gymnasium_family(name, ranges("gravity=1:2"))
        assert "\n" not in str(caught.value)

    def test_unknown_module_and_backend(self):
        with pytest.raises(ValueError, match='there is no module "no_such_module"; install it'):
            gymnasium_family("no_such_module:CartPole-v1", ranges("gravity=1:2"))
        with pytest.raises(ValueError, match='unknown backend "threads"; known: gymnasium'):
            gymnasium_family("CartPole-v1", ranges("gravity=1:2"), backend="threads")

    def test_module_and_name(self, tmp_path, monkeypatch):
        write(tmp_path, POINT.replace("MAX", "20"), "module_with_a_point.py")
        monkeypatch.syspath_prepend(tmp_path)
        try:
            family = gymnasium_family(
                "module_with_a_point:PgxPoint-v0", ranges("force=1:4"), **SMALL
            )
        finally:
            gymnasium.registry.pop("PgxPoint-v0", None)
        assert family.name == "gymnasium:module_with_a_point:PgxPoint-v0"
        _, result = family_walk(family, steps=3)
        assert np.isfinite(result.reward).all()
        family.close()


class TestGymnasiumDynamics:
    def test_pendulum_equals_gymnasium(self):
        """Every task against gymnasium.make with its keyword argument, step by step."""
        family = gymnasium_family("Pendulum-v1", ranges("g=5.0,20.0"), num_tasks=6, seed=1)
        actions = random_actions(Box(1), 15, 6)
        first, result = family_walk(family, actions)
        gravity = [float(name.split("=")[1]) for name in family.train_names]
        for task, value in enumerate(gravity):
            theirs = gymnasium.make("Pendulum-v1", g=value)
            theirs.reset(seed=0)
            cosine, sine, speed = first[task].astype(float)
            theirs.unwrapped.state = np.array([np.arctan2(sine, cosine), speed])
            for time in range(15):
                expected, reward, *_ = theirs.step(2.0 * np.asarray(actions[time, task]))
                np.testing.assert_allclose(result.observation[time, task], expected, atol=1e-3)
                assert result.reward[time, task] == pytest.approx(reward, abs=1e-2)
            theirs.close()
        assert set(gravity) == {5, 20}
        np.testing.assert_array_equal(first, first[[0] * 6])
        weak, strong = gravity.index(5), gravity.index(20)
        assert np.abs(result.observation[:, weak] - result.observation[:, strong]).max() > 0.2
        family.close()

    def test_equal_keys_give_equal_episodes(self, point_file):
        family = point_family(point_file())
        runs = [family_walk(family, steps=60), family_walk(family, steps=60)]
        for one, other in zip(*(jax.tree.leaves(run) for run in runs), strict=True):
            np.testing.assert_array_equal(one, other)
        assert runs[0][1].done.any()
        assert not np.array_equal(family_walk(family, steps=60, seed=1)[0], runs[0][0])
        family.close()

    def test_bounds_of_an_action_are_the_tasks_own(self, point_file):
        family = point_family(point_file("ranges = {'force': [1.0, 4.0], 'wall': 50}"), seed=1)
        force = np.array([float(name.split("=")[1]) for name in family.train_names])
        assert set(force) == {1, 4}
        first, result = family_walk(family, jnp.asarray([[[1.0]] * 4, [[-0.5]] * 4, [[9.0]] * 4]))
        where = np.stack([first, *result.final_observation])[:, :, 0]
        expected = np.outer([1, -0.5, 1], force)
        np.testing.assert_allclose(np.diff(where, axis=0), expected, rtol=1e-4)
        family.close()

    def test_discrete_actions_start_anywhere(self, point_file):
        more = "ranges = {'kind': 'discrete', 'start': -1, 'wall': (40.0, 50.0)}"
        family = point_family(point_file(more))
        assert family.environment.action_space == Discrete(3)
        first, result = family_walk(family, jnp.asarray([[0, 1, 2, 2]]))
        moved = result.final_observation[0, :, 0] - first[:, 0]
        np.testing.assert_allclose(moved, [-1, 0, 1, 1], atol=1e-6)
        family.close()

    def test_integer_actions_and_observations(self, point_file):
        more = "ranges = {'kind': 'integers', 'fault': 'bytes', 'wall': (40.0, 50.0)}"
        family = point_family(point_file(more))
        first, result = family_walk(family, jnp.asarray([[[-1.0], [-0.2], [0.5], [1.0]]]))
        np.testing.assert_array_equal(first, np.full((4, 2), 7, np.float32))
        np.testing.assert_array_equal(result.final_observation[0, :, 0], [3, 6, 9, 11])
        family.close()

    def test_tasks_of_another_form(self, point_file):
        family = point_family(point_file("ranges = {'size': (2, 5)}"), num_tasks=8)
        with pytest.raises(HostEnvironmentError, match=r"has observations \(\d,\) and actions"):
            family_walk(family)
        family.close()

    def test_info_of_the_last_step(self, point_file):
        more = "ranges = {'force': (1.0, 2.0)}\ninfo_names = ('success',)\nmetric = 'success'"
        family = point_family(point_file(more))
        assert family.metric == "success"
        assert family.environment.info_names == ("success",)
        actions = jnp.asarray(np.tile(np.array([1, 1, -1, -1.0])[:, None], (4, 1, 1)))
        _, result = family_walk(family, actions)
        success = result.info["success"]
        assert result.terminated.any(axis=0).all()
        running = ~result.terminated
        np.testing.assert_array_equal(success[running], np.zeros(running.sum()))
        for task, wanted in enumerate([1, 1, 0, 0]):
            ends = result.terminated[:, task]
            np.testing.assert_array_equal(success[ends, task], np.full(ends.sum(), wanted))
        family.close()

    def test_info_that_never_comes(self, point_file):
        family = point_family(point_file(), info_names=("sucess",), metric="sucess")
        with pytest.raises(
            HostEnvironmentError, match=r"info had no sucess .* last has: text, shape"
        ):
            family_walk(family)
        family.close()

    def test_metric_has_to_be_carried(self, point_file):
        with pytest.raises(ValueError, match='metric "success" is neither'):
            point_family(point_file(), metric="success")

    def test_drawn(self, point_file):
        family = point_family(point_file())
        frames = family.render(1, lambda observation: np.ones(1, np.float32), 3)
        assert frames.shape == (3, 8, 8, 3)
        assert frames.dtype == np.uint8
        assert (frames[0] != frames[2]).all()
        family.close()
        assert gymnasium_family("Pendulum-v1", ranges("g=5:20"), **SMALL).render is not None


class TestMaker:
    def test_picklable(self):
        spec = find_spec("Pendulum-v1")
        maker = GymnasiumMaker(spec, {"g": 3.0}, max_episode_steps=9)
        made = pickle.loads(pickle.dumps(maker))()
        assert isinstance(made, PlainEnvironment)
        assert made.unwrapped.g == 3.0
        assert made.spec.max_episode_steps == 9
        made.close()

    def test_file_runs_before_its_environment_is_read(self, point_file, tmp_path):
        """As in another process, where neither the module nor the registration is known."""
        from pgx_jax.envs import task_files

        file = point_file()
        maker = GymnasiumMaker(find_spec("PgxPoint-v0"), {"force": 2.0}, task_file=file.path)
        sent = pickle.dumps(maker)
        gymnasium.registry.pop("PgxPoint-v0")
        task_files._run.cache_clear()
        made = pickle.loads(sent)()
        assert made.unwrapped.force == 2.0
        made.close()


@pytest.mark.slow
def test_async_equals_sync(point_file):
    """The environment is registered by the file alone, in the processes too."""
    runs = []
    more = "ranges = {'force': (1.0, 2.0)}\ninfo_names = ('success',)"
    file = point_file(more)
    for backend in ("gymnasium", "gymnasium-async"):
        family = point_family(file, num_tasks=3, backend=backend)
        runs.append(family_walk(family, jnp.ones((40, 3, 1))))
        family.close()
    for one, other in zip(*(jax.tree.leaves(run) for run in runs), strict=True):
        np.testing.assert_array_equal(one, other)
    assert runs[0][1].done.any()
