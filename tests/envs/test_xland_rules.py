"""The grid world with a hidden rule: steps against NumPy, what the rules do, the published draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("xminigrid")

from pgx_jax.envs.xland_rules import (
    MAX_STEPS,
    OBJECTS,
    RULES,
    SIZE,
    XLandRulesEnvironment,
    XLandTasks,
    sample_xland_tasks,
    xland_rules,
)

FORWARD, RIGHT, LEFT, TAKE, PUT, _TOGGLE = range(6)
TILES = {"red ball": (3, 1), "green square": (4, 2), "blue pyramid": (5, 3), "purple hex": (11, 4)}
STAR, WALL, FLOOR, NOTHING = (12, 5), (2, 6), (1, 7), (0, 0)
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))
ALL = XLandTasks(jnp.repeat(jnp.arange(4), 2), jnp.tile(jnp.arange(2), 4))
ENVIRONMENT = XLandRulesEnvironment()


class NumpyGrid:
    """One episode by the rules of the game, from a state of XLand-MiniGrid."""

    def __init__(self, state, row, thing, rule):
        grid = np.asarray(state.state.grid[row])
        self.cells = {
            (y, x): tuple(int(part) for part in grid[y, x])
            for y in range(SIZE)
            for x in range(SIZE)
        }
        agent = state.state.agent
        self.place = tuple(int(part) for part in agent.position[row])
        self.facing = int(agent.direction[row])
        self.pocket, self.time = None, 0
        self.source, self.rule = TILES[OBJECTS[thing]], RULES[rule]

    def ahead(self, distance=1, aside=0):
        """The cell so many steps ahead, and to the right."""
        (dy, dx), (ry, rx) = STEPS[self.facing], STEPS[(self.facing + 1) % 4]
        y, x = self.place
        return y + distance * dy + aside * ry, x + distance * dx + aside * rx

    def step(self, action):
        """Advance -> reward, and whether the star is held."""
        self.time += 1
        front = self.ahead()
        if action == FORWARD:
            if self.cells[front] == FLOOR:
                self.place = front
            if self.rule == "approached":
                for dy, dx in STEPS:
                    beside = self.place[0] + dy, self.place[1] + dx
                    if self.cells[beside] == self.source:
                        self.cells[beside] = STAR
        elif action == RIGHT:
            self.facing = (self.facing + 1) % 4
        elif action == LEFT:
            self.facing = (self.facing - 1) % 4
        elif action == TAKE and self.pocket is None and self.cells[front] not in (FLOOR, WALL):
            self.pocket, self.cells[front] = self.cells[front], FLOOR
        elif action == PUT and self.pocket is not None and self.cells[front] == FLOOR:
            self.cells[front], self.pocket = self.pocket, None
        if action == TAKE and self.rule == "held" and self.pocket == self.source:
            self.pocket = STAR
        won = action == TAKE and self.pocket == STAR
        return (1 - 0.9 * self.time / MAX_STEPS) * won, won

    def view(self):
        """The five by five cells ahead, the farthest row first, as indicators."""
        shown = np.zeros((5, 5, 6))
        kinds = [*TILES.values(), STAR]
        for row in range(5):
            for column in range(5):
                cell = self.cells.get(self.ahead(4 - row, column - 2), NOTHING)
                if cell in kinds:
                    shown[row, column, kinds.index(cell)] = 1
                shown[row, column, 5] = cell in (WALL, NOTHING)
        return shown


@partial(jax.jit, static_argnums=0)
def reset(environment, keys, tasks):
    return environment.reset(keys, tasks)


@partial(jax.jit, static_argnums=0)
def step(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def test_steps_equal_numpy():
    """Episodes of all tasks under random actions, across their ends."""
    rng = np.random.default_rng(0)
    tasks = jax.tree.map(lambda leaf: jnp.repeat(leaf, 8), ALL)
    count = tasks.thing.shape[0]
    keys = jax.random.split(jax.random.key(0), count)
    state, seen = reset(ENVIRONMENT, keys, tasks)

    def grid(row):
        return NumpyGrid(state, row, int(tasks.thing[row]), int(tasks.rule[row]))

    grids = [grid(row) for row in range(count)]
    for row in range(count):
        np.testing.assert_array_equal(seen[row], grids[row].view())
    wins = np.zeros(count, int)
    for time in range(150):
        action = rng.choice(6, count, p=[0.4, 0.15, 0.15, 0.2, 0.05, 0.05])
        now = jax.vmap(partial(jax.random.fold_in, data=time))(keys)
        state, result = jax.tree.map(
            np.asarray, step(ENVIRONMENT, now, state, jnp.asarray(action), tasks)
        )
        for row in range(count):
            reward, won = grids[row].step(action[row])
            ended = grids[row].time == MAX_STEPS
            np.testing.assert_array_equal(result.final_observation[row], grids[row].view())
            assert result.reward[row] == pytest.approx(reward, abs=1e-6)
            assert result.terminated[row] == won == result.info["success"][row]
            assert result.truncated[row] == (ended and not won)
            if won or ended:
                grids[row] = grid(row)
            np.testing.assert_array_equal(result.observation[row], grids[row].view())
            wins[row] += won
    # Every one of the eight tasks has been won.
    assert (wins.reshape(8, 8).sum(axis=1) > 0).all()


def test_observations_do_not_tell_the_task():
    keys = jnp.broadcast_to(jax.random.key(1), (8,))
    _, seen = reset(ENVIRONMENT, keys, ALL)
    np.testing.assert_array_equal(seen, np.broadcast_to(seen[:1], seen.shape))


def test_published_family():
    family = xland_rules()
    assert family.description == (
        "XLand-MiniGrid R1-7x7: which of red ball, green square, blue pyramid, purple hex turns "
        "into the star, when held or approached; 24 steps"
    )
    assert family.num_tasks == 10
    assert family.train_names[:2] == ("1: blue pyramid held", "2: red ball held")
    assert family.test_tasks.thing.shape == (50,)
    np.testing.assert_array_equal(family.train_tasks.thing, [2, 0, 3, 2, 2, 3, 3, 2, 3, 1])
    np.testing.assert_array_equal(family.train_tasks.rule, [0, 0, 1, 1, 1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(family.groups, family.train_tasks.thing)


def test_tasks_are_uniform_and_the_first_stay():
    tasks = sample_xland_tasks(0, 4000)
    counts = np.bincount(np.asarray(tasks.thing) * 2 + np.asarray(tasks.rule))
    assert len(counts) == 8
    np.testing.assert_allclose(counts / 4000, 1 / 8, atol=0.02)
    np.testing.assert_array_equal(tasks.thing[:10], xland_rules().train_tasks.thing)
