"""Small Gymnasium environments with known rewards and ends, some of which fail on purpose.

Nothing here imports JAX: the processes of an "async" backend import this file.
"""

import os
import sys
import time
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

SIZE = 3
LENGTH = 4
FAULTS = ("raise", "nan observation", "nan reward", "shape", "hang")
"""Each at a given step; "hang" is in Python, which can be stopped within the process."""


@dataclass(frozen=True)
class Task:
    """What a probe does.

    Attributes:
        number: offset of the rewards.
        length: steps of an episode.
        truncates: whether the episode is cut short at its end, or else terminates.
        fault: one of ``FAULTS`` or of the others that ``Probe`` knows; None never fails.
        at: the step, counted over all episodes, at which it fails.
        first: lowest action.
        bounds: None for two discrete actions, else the range of a continuous one.
        observes: "floats", "bytes" or "dict".
    """

    number: int = 0
    length: int = LENGTH
    truncates: bool = False
    fault: str | None = None
    at: int = 6
    first: int = 0
    bounds: tuple[float, float] | None = None
    observes: str = "floats"

    def __call__(self):
        return Probe(self)


class Probe(gymnasium.Env):
    """Observes (task, step of the episode, a number drawn at reset) and pays ``reward``."""

    def __init__(self, task):
        if task.fault == "raise in init":
            raise ValueError("cannot be made")
        self.task = task
        spaces = {
            "floats": Box(-np.inf, np.inf, (SIZE,), np.float32),
            "bytes": Box(0, 255, (SIZE,), np.uint8),
            "dict": Dict({"seen": Box(-1, 1, (SIZE,), np.float32)}),
        }
        self.observation_space = spaces[task.observes]
        self.action_space = (
            Discrete(2, start=task.first)
            if task.bounds is None
            else Box(*(np.full((2, 1), bound) for bound in task.bounds), dtype=np.float64)
        )
        self.taken, self.resets, self.last = 0, 0, None
        # One buffer for all observations, as careless environments have it.
        self._buffer = np.zeros(SIZE, self.observation_space.dtype or np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        if self.task.fault == "raise in reset" and self.resets > 1:
            raise ValueError("cannot be reset")
        self.step_of_episode = 0
        self.drawn = int(self.np_random.integers(100))
        return self._observation(), {"begun": True}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        self.taken += 1
        self.step_of_episode += 1
        self.last = action
        observation, pay = self._observation(), reward(self.task, self.step_of_episode, action)
        if self.taken == self.task.at and self.task.fault is not None:
            observation, pay = self._fail(observation, pay)
        done = self.step_of_episode == self.task.length
        info = {
            "success": np.bool_(self.step_of_episode == 2),
            "progress": self.step_of_episode / self.task.length,
        }
        if self.task.fault == "no info" and self.taken == self.task.at:
            del info["success"]
        return observation, pay, done and not self.task.truncates, done, info

    def close(self):
        if self.task.fault == "raise in close":
            raise ValueError("cannot be closed")

    def _observation(self):
        self._buffer[:] = self.task.number, self.step_of_episode, self.drawn
        return self._buffer

    def _fail(self, observation, pay):
        fault = self.task.fault
        if fault == "raise":
            raise ValueError("broken on purpose")
        if fault == "nan observation":
            observation = np.full(SIZE, np.nan, np.float32)
        elif fault == "nan reward":
            pay = float("nan")
        elif fault == "huge observation":
            observation = np.full(SIZE, 1e300)
        elif fault == "shape":
            observation = np.zeros(SIZE + 1, np.float32)
        elif fault == "reward shape":
            pay = np.zeros(2)
        elif fault == "hang":
            while True:
                pass
        elif fault == "hang in C":
            time.sleep(8.0)
        elif fault == "sys.exit":
            sys.exit(3)
        elif fault == "dies":
            os._exit(7)
        return observation, pay


def reward(task, step, action):
    """What a step pays."""
    return task.number + 0.25 * step + 0.5 * float(np.sum(action))


def tasks(count=2, **options):
    """Tasks of numbers 1, 2, ..., with episodes of 4, 5, ... steps."""
    task = Task(**options)
    return [
        replace(task, number=number, length=task.length + number - 1)
        for number in range(1, count + 1)
    ]


def with_fault(fault, row=1, count=2, **options):
    """Tasks of which one fails."""
    made = tasks(count, **options)
    made[row] = replace(made[row], fault=fault)
    return made


@dataclass
class Played:
    """Steps of one environment, as a plain loop takes them; lists over the steps."""

    first: np.ndarray
    observation: list
    final: list
    reward: list
    terminated: list
    truncated: list
    success: list


def play(task, seed, actions):
    """The reference: one environment, reset right after every end."""
    probe = Probe(replace(task, fault=None))
    observation = probe.reset(seed=seed)[0]
    played = Played(observation.copy(), [], [], [], [], [], [])
    for action in actions:
        observation, pay, terminated, truncated, info = probe.step(action)
        played.final.append(observation.copy())
        truncated = bool(truncated) and not terminated
        if terminated or truncated:
            observation = probe.reset()[0]
        played.observation.append(observation.copy())
        played.reward.append(pay)
        played.terminated.append(terminated)
        played.truncated.append(truncated)
        played.success.append(float(info["success"]))
    return played


class Imported:
    """A batch that tells which modules its process has imported."""

    def __init__(self, cell):
        self.made = Task()()

    def reset(self, seeds):
        names = sorted(name for name in sys.modules if sys.modules[name] is not None)
        return np.array([" ".join(names)])

    def close(self):
        self.made.close()
