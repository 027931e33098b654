"""Frames of a Meta-World episode."""

import numpy as np
import pytest

from pgx_jax.envs.families import make_family
from tests.envs.metaworld.probes import needs


class TestDrawing:
    def test_frames_of_an_episode(self):
        needs("metaworld")
        from pgx_jax.envs.metaworld.frames import NUM_STEPS

        family = make_family("metaworld-mt10", num_tasks=2, num_test_tasks=1, backend="metaworld")
        seen = []

        def act(observation):
            seen.append(observation)
            return np.array([1, 0, 0, 0], np.float32)

        try:
            frames = family.render(1, act, 3)
        except RuntimeError as error:
            pytest.skip(str(error))
        assert frames.shape == (3, 240, 240, 3)
        assert frames.dtype == np.uint8
        assert frames[0].std() > 10
        # The arm moved.
        assert abs(frames[0].astype(float) - frames[-1]).mean() > 1
        assert np.array([one["observation"] for one in seen]).shape == (NUM_STEPS, 39)
        assert (np.array([one["task"] for one in seen]) == [0, 1]).all()
