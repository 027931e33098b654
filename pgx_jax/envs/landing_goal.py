"""LunarLander whose place to land is not its pad: the reward of one, the physics of the other."""

import math
from typing import Any

import numpy as np

try:
    import gymnasium
except ImportError as error:
    raise ImportError(
        '"lunarlander-goal" needs gymnasium: pip install "pgx_jax[lunarlander]"'
    ) from error

ZONE = 0.2
"""Half the width of LunarLander's pad, in units of its first observation."""

_LANDED = 100


class LandingGoal(gymnasium.Wrapper):
    """LunarLander's reward for landing at x = goal, y = 0; observations stay as they are.

    LunarLander pays the change of a shaping term, which holds the distance to the pad as

        -100 sqrt(x^2 + y^2),

    less the fuel; or, in an episode's last step, -100 for a crash or for leaving the picture, and
    +100 for coming to rest, wherever that is. Here that distance is sqrt((x - goal)^2 + y^2), so
    that a flight to the goal is paid for its way. The +100 is paid where |x - goal| is at most
    ``zone``; coming to rest elsewhere pays 0. All else is LunarLander's, the ground too: it is
    level on the pad alone.

    With goal 0 and an infinite zone all rewards are LunarLander's to the last bit.

    Attributes:
        goal: x of the place to land at, in units of the observation, in which the picture ends at
            -1 and 1.
        zone: largest distance from it, along x, at which a landing counts.
    """

    def __init__(self, env: gymnasium.Env, goal: float, zone: float = ZONE) -> None:
        super().__init__(env)
        self.goal, self.zone = goal, zone
        self._shift = 0.0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(**options)
        self._shift = self._shaping_shift(observation)
        return observation, info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        before, self._shift = self._shift, self._shaping_shift(observation)
        reward = float(reward)
        if not terminated:
            reward += self._shift - before
        elif reward == _LANDED and abs(float(observation[0]) - self.goal) > self.zone:
            reward = 0.0
        return observation, reward, terminated, truncated, info

    def _shaping_shift(self, observation: np.ndarray) -> float:
        """Shaping of the goal less that of the pad."""
        x, y = float(observation[0]), float(observation[1])
        return 100.0 * (math.hypot(x, y) - math.hypot(x - self.goal, y))
