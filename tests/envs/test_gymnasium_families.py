"""Families over any Gymnasium environment, by name."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.base import Box, Discrete
from pgx_jax.envs.host.environment import HostEnvironmentError
from pgx_jax.envs.parameters import load_task_file
from tests.envs.walks import SMALL, family_walk, random_actions, ranges, same_keys, walk, write

gymnasium = pytest.importorskip("gymnasium")

from pgx_jax.envs.gymnasium_families import gymnasium_family  # noqa: E402
from pgx_jax.envs.host.gymnasium_maker import (  # noqa: E402
    GymnasiumMaker,
    PlainEnvironment,
    find_spec,
)

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
