"""LunarLander: every parameter changes the dynamics, and nothing else is changed."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("Box2D")

from pgx_jax.envs.host.environment import HostTasks  # noqa: E402
from pgx_jax.envs.lunarlander import (  # noqa: E402
    RANGES,
    LunarLanderMaker,
    lunarlander,
    lunarlander_family,
    lunarlander_parameters,
)

NOTHING, LEFT, MAIN, RIGHT = range(4)
_X, _Y, VX, VY, _ANGLE, SPIN = range(6)


def fly(environment, actions, seed=0):
    """Observations, rewards and ends of one episode from a seed, without a reset after it."""
    observation, _ = environment.reset(seed=seed)
    seen, rewards, ends = [observation], [], []
    for action in actions:
        observation, reward, terminated, truncated, _ = environment.step(int(action))
        seen.append(observation)
        rewards.append(reward)
        ends.append((terminated, truncated))
        if terminated or truncated:
            break
    environment.close()
    return np.stack(seen), np.array(rewards), np.array(ends)


def fall(task, steps=40, seed=0):
    return fly(LunarLanderMaker(task)(), [NOTHING] * steps, seed)[0]


def gained(speed, steps):
    """Acceleration over so many steps of 1/50 s; VY is 20/3 / 50 times the speed."""
    return (speed[-1] - speed[0]) / (20 / 3 / 50) / (steps / 50)


def random_actions(seed, steps=300):
    return np.random.default_rng(seed).integers(0, 4, steps)


@partial(jax.jit, static_argnums=0)
def walk(environment, keys, tasks, actions):
    """Steps of B environments under actions [T, B] -> first observation, TimeStep [T, B]."""

    def one_step(state, action):
        return environment.step(keys, state, action, tasks)

    state, observation = environment.reset(keys, tasks)
    return observation, jax.lax.scan(one_step, state, actions)[1]


def side_by_side(tasks, actions, seed=0):
    """Tasks through the adapter from the same key -> first observation, TimeStep [T, B]."""
    family = lunarlander_family("test", list(tasks), [])
    keys = jnp.broadcast_to(jax.random.key(seed), (len(tasks),))
    try:
        result = walk(family.environment, keys, family.train_tasks, jnp.asarray(actions))
        family.environment.check()
        return jax.tree.map(np.asarray, result)
    finally:
        family.close()


class TestUnmodified:
    @pytest.mark.parametrize("seed", range(5))
    def test_equals_gymnasium_step_by_step(self, seed):
        actions = random_actions(seed)
        ours = fly(LunarLanderMaker({})(), actions, seed)
        theirs = fly(gymnasium.make("LunarLander-v3"), actions, seed)
        for got, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(got, expected)
        assert ours[2][-1].any()

    def test_default_values_are_the_unmodified_task(self):
        task = {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0, "engine": 1.0}
        actions = random_actions(0)
        for got, expected in zip(
            fly(LunarLanderMaker(task)(), actions),
            fly(LunarLanderMaker({})(), actions),
            strict=True,
        ):
            np.testing.assert_array_equal(got, expected)

    def test_same_limit_as_gymnasium(self):
        family = lunarlander_family("test", [{}], [])
        spec = gymnasium.spec("LunarLander-v3")
        assert family.environment.max_episode_steps == spec.max_episode_steps
        assert LunarLanderMaker({})()._max_episode_steps == spec.max_episode_steps


class TestGravity:
    @pytest.mark.parametrize(("weak", "strong"), [(-3.0, -10.0), (-10.0, -11.5)])
    def test_free_fall_differs(self, weak, strong):
        for gravity in (weak, strong):
            speed = fall({"gravity": gravity}, steps=40)[:, VY]
            assert gained(speed, steps=40) == pytest.approx(gravity, rel=0.02)


class TestWind:
    def test_wind_pushes_sideways(self):
        none, some, more = (fall({"wind_power": power}) for power in (0.0, 10.0, 20.0))
        pushed = [np.abs(own[-1, VX] - none[-1, VX]) for own in (some, more)]
        assert pushed[0] > 1e-3
        assert pushed[1] > 1.5 * pushed[0]

    def test_turbulence_turns(self):
        none, some, more = (fall({"turbulence_power": power}) for power in (0.0, 1.0, 2.0))
        turned = [np.abs(own[-1, SPIN] - none[-1, SPIN]) for own in (some, more)]
        assert turned[0] > 1e-3
        assert turned[1] > 1.5 * turned[0]

    @pytest.mark.parametrize("name", ["wind_power", "turbulence_power"])
    def test_zero_equals_none(self, name):
        actions = random_actions(1)
        for got, expected in zip(
            fly(LunarLanderMaker({name: 0.0})(), actions),
            fly(LunarLanderMaker({})(), actions),
            strict=True,
        ):
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize(
        ("name", "other"),
        [("wind_power", "turbulence_power"), ("turbulence_power", "wind_power")],
    )
    def test_one_alone_does_not_bring_the_other(self, name, other):
        np.testing.assert_array_equal(fall({name: 2.0}), fall({name: 2.0, other: 0.0}))
        assert not np.array_equal(fall({name: 2.0}), fall({name: 2.0, other: 1.5}))

    def test_same_seed_same_wind(self):
        task = {"wind_power": 15.0, "turbulence_power": 1.5}
        np.testing.assert_array_equal(fall(task, seed=3), fall(task, seed=3))
        assert not np.array_equal(fall(task, seed=3), fall(task, seed=4))


class TestEngine:
    @pytest.mark.parametrize(
        ("action", "column"), [(MAIN, VY), (LEFT, SPIN), (RIGHT, SPIN), (LEFT, VX), (RIGHT, VX)]
    )
    def test_impulse_is_that_many_times_larger(self, action, column):
        """One burn from the same state: its effect against the same step without it."""
        tasks = [{}, {}, {"engine": 0.7}, {"engine": 1.5}]
        first, result = side_by_side(tasks, [[NOTHING, action, action, action]])
        np.testing.assert_array_equal(first, np.broadcast_to(first[:1], first.shape))
        after = result.final_observation[0, :, column]
        effect = after[1:] - after[0]
        assert abs(effect[0]) > 1e-3
        assert effect[1] / effect[0] == pytest.approx(0.7, rel=0.02)
        assert effect[2] / effect[0] == pytest.approx(1.5, rel=0.02)

    def test_engine_off_is_the_same_fall(self):
        np.testing.assert_array_equal(fall({"engine": 0.7}), fall({"engine": 1.5}))

    def test_engines_side_by_side_do_not_disturb_each_other(self):
        from gymnasium.envs.box2d import lunar_lander

        constants = {key: value for key, value in vars(lunar_lander).items() if key.isupper()}
        actions = random_actions(2)
        makers = [
            LunarLanderMaker({"engine": 0.7}),
            LunarLanderMaker({"engine": 1.5}),
            partial(gymnasium.make, "LunarLander-v3"),
        ]
        alone = [fly(maker(), actions)[0] for maker in makers]
        together = [maker() for maker in makers]
        seen = [[environment.reset(seed=0)[0]] for environment in together]
        for time, action in enumerate(actions[: min(len(own) for own in alone) - 1], 1):
            for environment, own in zip(together, seen, strict=True):
                own.append(environment.step(int(action))[0])
            for own, expected in zip(seen, alone, strict=True):
                np.testing.assert_array_equal(own[-1], expected[time])
        assert not np.array_equal(seen[0][-1], seen[1][-1])
        assert constants == {k: v for k, v in vars(lunar_lander).items() if k.isupper()}
        assert type(gymnasium.make("LunarLander-v3").unwrapped) is lunar_lander.LunarLander


class TestFamily:
    @pytest.fixture(scope="class")
    def family(self):
        family = lunarlander(num_tasks=3, num_test_tasks=2)
        yield family
        family.close()

    def test_equal_keys_give_equal_episodes(self, family):
        keys = jax.random.split(jax.random.key(1), 3)
        actions = jnp.asarray(random_actions(3, 450).reshape(150, 3))
        runs = [
            jax.tree.map(np.asarray, walk(family.environment, keys, family.train_tasks, actions))
            for _ in range(2)
        ]
        for one, other in zip(*(jax.tree.leaves(run) for run in runs), strict=True):
            np.testing.assert_array_equal(one, other)
        # Episodes ended in between, and the next ones were the same as well.
        assert runs[0][1].terminated.any()
        others = walk(
            family.environment, jax.random.split(jax.random.key(2), 3), family.train_tasks, actions
        )
        assert not np.array_equal(others[0], runs[0][0])

    def test_held_out_tasks_are_other_tasks(self, family):
        table = lunarlander_parameters(0, 3) + lunarlander_parameters(1, 2)
        assert len({tuple(task.values()) for task in table}) == 5
        rows = [*np.asarray(family.train_tasks.index), *np.asarray(family.test_tasks.index)]
        assert rows == list(range(5))

    def test_rows_are_the_tasks_of_their_names(self, family):
        """Row 4, a held-out task, falls with its own gravity."""
        task = lunarlander_parameters(1, 2)[1]
        keys = jax.random.split(jax.random.key(1), 1)
        tasks = HostTasks(jnp.array([4], jnp.int32))
        first, result = walk(family.environment, keys, tasks, jnp.zeros((30, 1), jnp.int32))
        speed = [float(first[0, VY]), *np.asarray(result.final_observation[:, 0, VY])]
        assert gained(speed, steps=30) == pytest.approx(task["gravity"], rel=0.05)

    def test_names_are_unique(self):
        names = lunarlander(num_tasks=30, num_test_tasks=1).train_names
        assert len(set(names)) == 30

    def test_first_tasks_are_the_same_whatever_their_number(self):
        assert lunarlander_parameters(0, 20)[:5] == lunarlander_parameters(0, 5)
        few, many = lunarlander(num_tasks=3), lunarlander(num_tasks=8)
        assert many.train_names[:3] == few.train_names

    @pytest.mark.parametrize("name", sorted(RANGES))
    def test_published_distribution(self, name):
        low, high = RANGES[name]
        values = np.array([task[name] for task in lunarlander_parameters(0, 2000)])
        unit = (values - low) / (high - low)
        if name == "engine":
            unit = np.log(values / low) / np.log(high / low)
        assert unit.min() >= 0
        assert unit.max() <= 1
        assert stats.kstest(unit, "uniform").pvalue > 0.01

    def test_unknown_backend(self):
        with pytest.raises(ValueError, match='unknown backend "envpool"'):
            lunarlander(backend="envpool")

    @pytest.mark.parametrize(
        ("task", "message"),
        [
            ({"gravity": -12.0}, "gravity is -12; it has to be between -12 and 0"),
            ({"gravity": 1.0}, "gravity is 1;"),
            ({"wind_power": 21.0}, "wind_power is 21; it has to be from 0 to 20"),
            ({"turbulence_power": -0.1}, "turbulence_power is -0.1;"),
            ({"engine": 0.0}, "engine is 0; it has to be above 0"),
            ({"gravity": float("nan")}, "gravity is nan;"),
            ({"thrust": 1.0}, 'no parameter "thrust"; known: gravity, wind_power'),
        ],
    )
    def test_impossible_tasks(self, task, message):
        with pytest.raises(ValueError, match=message):
            lunarlander_family("test", [{}], [task])

    def test_picklable_maker(self):
        task = lunarlander_parameters(0, 1)[0]
        maker = LunarLanderMaker(task)
        actions = random_actions(4)
        for got, expected in zip(
            fly(pickle.loads(pickle.dumps(maker))(), actions), fly(maker(), actions), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_async_equals_sync():
    keys = jax.random.split(jax.random.key(5), 2)
    actions = jnp.asarray(random_actions(5, 200).reshape(100, 2))
    runs = []
    for backend in ("gymnasium", "gymnasium-async"):
        family = lunarlander(num_tasks=2, num_test_tasks=1, backend=backend)
        result = walk(family.environment, keys, family.train_tasks, actions)
        runs.append(jax.tree.map(np.asarray, result))
        family.environment.check()
        family.close()
    for one, other in zip(*(jax.tree.leaves(run) for run in runs), strict=True):
        np.testing.assert_array_equal(one, other)
