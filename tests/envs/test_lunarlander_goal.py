"""LunarLander with a goal: its reward against LunarLander's, and landings by a heuristic pilot."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("Box2D")

from gymnasium.envs.box2d.lunar_lander import heuristic  # noqa: E402

from pgx_jax.envs.landing_goal import ZONE, LandingGoal  # noqa: E402
from pgx_jax.envs.lunarlander import LunarLanderMaker, lunarlander_family  # noqa: E402
from pgx_jax.envs.lunarlander_goal import (  # noqa: E402
    GOAL_RANGE,
    lunarlander_goal,
    lunarlander_goals,
)


def pilot(environment, observation, towards):
    """Gymnasium's heuristic, as if the pad were at ``towards``."""
    shifted = np.array(observation, np.float64)
    shifted[0] -= towards
    return heuristic(environment, shifted)


def fly(environment, act, seed, limit=600):
    """One episode -> observations [T + 1, 8], actions, rewards and whether it terminated."""
    observation, _ = environment.reset(seed=seed)
    seen, actions, rewards, terminated = [observation], [], [], False
    for _ in range(limit):
        action = int(act(environment, observation))
        observation, reward, terminated, truncated, _ = environment.step(action)
        seen.append(observation)
        actions.append(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    environment.close()
    return np.stack(seen), np.array(actions), np.array(rewards), terminated


def random_pilot(seed):
    rng = np.random.default_rng(seed)
    return lambda environment, observation: rng.integers(0, 4)


def towards(goal):
    return lambda environment, observation: pilot(environment, observation, goal)


def plain():
    return gymnasium.make("LunarLander-v3").unwrapped


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "act", [random_pilot, lambda seed: towards(0.0), lambda seed: towards(0.5)]
)
def test_goal_zero_is_lunarlander_to_the_last_bit(act, seed):
    """Landings, crashes and flights out of the picture; coming to rest pays wherever it is."""
    ours = fly(LandingGoal(plain(), 0.0, zone=math.inf), act(seed), seed)
    theirs = fly(plain(), act(seed), seed)
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_published_task_at_goal_zero_is_lunarlander_where_the_pad_is_landed_on():
    landed = 0
    for seed in range(4):
        ours = fly(LunarLanderMaker({"goal": 0.0})(), towards(0.0), seed)
        theirs = fly(LunarLanderMaker({})(), towards(0.0), seed)
        assert abs(ours[0][-1, 0]) <= ZONE
        for got, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(got, expected)
        landed += ours[2][-1] == 100
    assert landed


def shaping(observation, goal):
    x, y, vx, vy, angle, _, left, right = np.float64(observation).T
    return (
        -100 * np.sqrt((x - goal) ** 2 + y**2)
        - 100 * np.sqrt(vx**2 + vy**2)
        - 100 * np.abs(angle)
        + 10 * left
        + 10 * right
    )


@pytest.mark.parametrize("goal", [-0.7, 0.05, 0.4])
def test_rewards_follow_the_formula(goal):
    """Every step of flights to the goal, to the pad and at random, from what was observed."""
    fuel = np.array([0.0, 0.03, 0.3, 0.03])
    ends = {}
    for seed in range(4):
        for act in (towards(goal), towards(0.0), random_pilot(seed)):
            environment = LandingGoal(plain(), goal)
            seen, actions, rewards, terminated = fly(environment, act, seed)
            expected = np.diff(shaping(seen, goal)) - fuel[actions]
            # Observations are rounded to single precision, LunarLander's shaping is not.
            np.testing.assert_allclose(rewards[:-1], expected[:-1], atol=1e-3)
            x = seen[-1, 0]
            if not terminated:
                assert rewards[-1] == pytest.approx(expected[-1], abs=1e-3)
                continue
            rests = not environment.unwrapped.lander.awake
            paid = (100 if abs(x - goal) <= ZONE else 0) if rests else -100
            assert rewards[-1] == paid
            ends[paid] = ends.get(paid, 0) + 1
    assert ends.get(-100)


def test_rest_pays_at_the_goal_alone():
    """One landing, under goals within the zone's half width of .2 and beyond it."""
    landed = fly(plain(), towards(0.0), seed=1)
    x = float(landed[0][-1, 0])
    assert landed[2][-1] == 100
    for away, paid in ((-0.25, 0), (-0.15, 100), (0.15, 100), (0.25, 0)):
        flight = fly(LandingGoal(plain(), x + away), towards(0.0), seed=1)
        np.testing.assert_array_equal(flight[0], landed[0])
        assert flight[2][-1] == paid


def test_the_bonus_is_for_those_who_fly_to_the_goal():
    """The heuristic pilot who heads for it earns it now and then; who heads for the pad, never."""
    bonuses = {"goal": 0, "pad": 0}
    for seed in range(5):
        for goal in (-0.6, 0.4):
            for name, aim in (("goal", goal), ("pad", 0.0)):
                rewards = fly(LandingGoal(plain(), goal), towards(aim), seed, limit=1000)[2]
                bonuses[name] += rewards[-1] == 100
    assert bonuses["goal"] >= 3
    assert bonuses["pad"] == 0


def test_observations_do_not_tell_the_goal():
    flights = [
        fly(LunarLanderMaker(task)(), random_pilot(0), seed=3)
        for task in ({"goal": -0.8}, {"goal": 0.3}, {})
    ]
    for other in flights[1:]:
        np.testing.assert_array_equal(flights[0][0], other[0])
        assert not np.array_equal(flights[0][2], other[2])


def test_other_parameters_go_together_with_a_goal():
    task = {"goal": 0.3, "gravity": -5.0, "engine": 1.2}
    plain_task = {key: value for key, value in task.items() if key != "goal"}
    one = fly(LunarLanderMaker(task)(), random_pilot(1), seed=2)
    other = fly(LunarLanderMaker(plain_task)(), random_pilot(1), seed=2)
    np.testing.assert_array_equal(one[0], other[0])
    assert not np.array_equal(one[2], other[2])


def test_batch_pays_as_one_environment_does():
    """Through the batched protocol, and across the ends of episodes."""
    table = [{"goal": -0.5}, {"goal": 0.5}, {}]
    family = lunarlander_family("test", table, [], ranges="test")
    environment = family.environment
    keys = jnp.broadcast_to(jax.random.key(0), (3,))
    actions = np.random.default_rng(0).integers(0, 4, (200, 3))
    actions[:] = actions[:, :1]
    try:
        state, observation = environment.reset(keys, family.train_tasks)
        seen, last, rewards, done = [np.asarray(observation)], [], [], []
        for action in actions:
            state, result = environment.step(
                keys, state, jnp.asarray(action, jnp.int32), family.train_tasks
            )
            seen.append(np.asarray(result.observation))
            last.append(np.asarray(result.final_observation))
            rewards.append(np.asarray(result.reward))
            done.append(np.asarray(result.done))
        environment.check()
    finally:
        family.close()
    seen, last, rewards = np.stack(seen), np.stack(last), np.stack(rewards)
    done = np.stack(done)
    assert done.any()
    fuel = np.array([0.0, 0.03, 0.3, 0.03])[actions]
    for row, task in enumerate(table):
        goal = task.get("goal", 0.0)
        expected = shaping(last[:, row], goal) - shaping(seen[:-1, row], goal) - fuel[:, row]
        running = ~done[:, row]
        np.testing.assert_allclose(rewards[running, row], expected[running], atol=1e-3)


class TestFamily:
    @pytest.fixture(scope="class")
    def family(self):
        family = lunarlander_goal()
        yield family
        family.close()

    def test_published_family(self, family):
        assert family.name == "lunarlander-goal"
        assert family.description == "Gymnasium LunarLander-v3: goal U[-1, 1]"
        assert family.num_tasks == 10
        assert family.test_tasks.index.shape == (50,)
        assert family.train_names[:2] == ("1: goal=0.274", "2: goal=-0.46")
        assert family.environment.task_names[10] == "11: goal=0.0236"
        assert family.groups is None

    def test_goals_fill_their_range_and_the_first_stay(self):
        low, high = GOAL_RANGE
        goals = np.array([task["goal"] for task in lunarlander_goals(0, 4000)])
        assert low <= goals.min() < low + 0.01
        assert high - 0.01 < goals.max() <= high
        assert abs(goals.mean()) < 0.05
        assert lunarlander_goals(0, 4) == lunarlander_goals(0, 9)[:4]

    @pytest.mark.parametrize("goal", [-1.0, 1.0, float("nan")])
    def test_goals_where_the_flight_ends_are_refused(self, goal):
        with pytest.raises(ValueError, match=r"goal is \S+; it has to be between -1 and 1"):
            lunarlander_family("test", [{"goal": goal}], [])

    def test_picklable_maker(self):
        maker = pickle.loads(pickle.dumps(LunarLanderMaker({"goal": 0.4})))
        ours = fly(maker(), random_pilot(0), seed=0)
        theirs = fly(LunarLanderMaker({"goal": 0.4})(), random_pilot(0), seed=0)
        np.testing.assert_array_equal(ours[2], theirs[2])
