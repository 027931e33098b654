"""Frames of an episode, drawn by a Gymnasium environment."""

from collections.abc import Callable
from typing import Any

import numpy as np


def record_frames(
    environment: Any,
    act: Callable[[np.ndarray], np.ndarray],
    num_frames: int,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Evenly spaced frames of one episode; closes the environment.

    Args:
        environment: a Gymnasium environment whose ``render_mode`` is "rgb_array".
        act: observation, float32, -> action as the environment takes it.
        num_frames: frames to keep; a shorter episode repeats its last one.
        seed: of the episode.

    Returns:
        uint8[num_frames, height, width, 3].

    Raises:
        RuntimeError: the environment draws nothing.
    """
    try:
        observation, _ = environment.reset(seed=seed)
        frames, done = [environment.render()], False
        while not done:
            action = act(np.asarray(observation, np.float32))
            observation, _, terminated, truncated, _ = environment.step(action)
            done = bool(terminated or truncated)
            frames.append(environment.render())
    finally:
        environment.close()
    if frames[0] is None:
        raise RuntimeError("the environment draws nothing")
    chosen = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
    return np.stack([np.asarray(frames[index], np.uint8) for index in chosen])
