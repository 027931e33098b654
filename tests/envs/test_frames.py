"""Frames of an episode that a Gymnasium environment draws."""

import numpy as np
import pytest

from pgx_jax.envs.frames import record_frames


class Counter:
    """A Gymnasium environment by its methods: the frame is the step's number."""

    def __init__(self, length, draws=True):
        self.length, self.draws, self.time, self.closed = length, draws, 0, False
        self.actions = []

    def reset(self, seed):
        self.time = 0
        return np.zeros(2), {}

    def step(self, action):
        self.time += 1
        self.actions.append(action)
        return np.full(2, self.time), 0.0, self.time == self.length, False, {}

    def render(self):
        return np.full((4, 6, 3), self.time, np.uint8) if self.draws else None

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("length", "expected"), [(7, [0, 2, 5, 7]), (3, [0, 1, 2, 3]), (1, [0, 0, 1, 1])]
)
def test_frames_are_evenly_spaced_from_first_to_last(length, expected):
    environment = Counter(length)
    frames = record_frames(environment, lambda observation: 10 * observation[0], 4)
    assert frames.shape == (4, 4, 6, 3)
    assert frames[:, 0, 0, 0].tolist() == expected
    assert environment.actions == [10 * time for time in range(length)]
    assert environment.closed


def test_an_environment_that_draws_nothing_says_so():
    environment = Counter(2, draws=False)
    with pytest.raises(RuntimeError, match="draws nothing"):
        record_frames(environment, lambda observation: 0, 4)
    assert environment.closed
