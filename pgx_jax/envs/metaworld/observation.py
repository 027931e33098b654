"""Meta-World's observations as policies see them, and back."""

from typing import Any

import numpy as np

OBSERVATION_SIZE = 39
ACTION_SIZE = 4

_FRAME = 18
# One frame: hand position (m), gripper opening (0..1), then two objects: position (m), quaternion.
# Means and deviations of the experts' first 150 steps in MT50, rounded.
_CENTRE = np.array([0, 0.7, 0.15, 0.6, *(0, 0.7, 0.15, 0, 0, 0, 0), *np.zeros(7)], np.float32)
_SPREAD = np.array([*(0.1,) * 3, 0.3, *((0.1,) * 3 + (0.5,) * 4) * 2], np.float32)
# What a frame changes by in one step: the hand moves 0.01 m at most.
_CHANGE = np.array([*(0.01,) * 3, 0.03, *((0.01,) * 3 + (0.03,) * 4) * 2], np.float32)
_GOAL_CENTRE, _GOAL_SPREAD = _CENTRE[:3], _SPREAD[:3]


def encode(observation: np.ndarray) -> np.ndarray:
    """Meta-World's observations as policies see them.

    Args:
        observation: float[..., 39]: frame, previous frame, goal; metres, shares and quaternions.

    Returns:
        float32[..., 39]: frame and goal less a centre over a spread, and between them the change
        since the previous frame over what a step can change.
    """
    now, before = observation[..., :_FRAME], observation[..., _FRAME : 2 * _FRAME]
    goal = observation[..., 2 * _FRAME :]
    parts = [
        (now - _CENTRE) / _SPREAD,
        (now - before) / _CHANGE,
        (goal - _GOAL_CENTRE) / _GOAL_SPREAD,
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def decode(observation: Any) -> np.ndarray:
    """The inverse of :func:`encode`, up to float32's rounding.

    Args:
        observation: float[..., 39].

    Returns:
        float32[..., 39] as Meta-World returns it.
    """
    observation = np.asarray(observation)
    now = observation[..., :_FRAME] * _SPREAD + _CENTRE
    before = now - observation[..., _FRAME : 2 * _FRAME] * _CHANGE
    goal = observation[..., 2 * _FRAME :] * _GOAL_SPREAD + _GOAL_CENTRE
    return np.concatenate([now, before, goal], axis=-1).astype(np.float32)
