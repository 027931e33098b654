"""Settings of runs by preset, for families without their own; and what the families' share.

A family's presets are plain literals in its module or folder: a name to a flat mapping of settings,
where PPO's are a mapping under "ppo". They name what differs from a run's defaults.
"""

import copy
from collections.abc import Mapping
from typing import Any

Presets = Mapping[str, Mapping[str, Any]]

SMOKE: dict[str, Any] = {
    "hidden_sizes": (16, 16, 16),
    "num_test_tasks": 6,
    "num_steps": 128,
    "dim": 32,
    "num_subsets": 20,
    "score_episodes": 1,
    "max_groups": 3,
    "eval_episodes": 2,
    "test_episodes": 1,
    "selection_episodes": 1,
}
"""A run that shows that everything works; nothing can be learnt from its numbers."""

GENERIC: Presets = {
    "smoke": {
        **SMOKE,
        "ppo": {"num_envs": 20, "num_steps": 64},
        "meta_steps": 10_000,
        "group_steps": 5_000,
    },
    "default": {"num_steps": 4096, "score_episodes": 4, "eval_episodes": 16, "test_episodes": 4},
}


def complete_presets(presets: Presets) -> dict[str, dict[str, Any]]:
    """A family's presets with those that every family has.

    Args:
        presets: the family's; {} where it has none.

    Returns:
        A copy with "smoke" and "default" from ``GENERIC`` where they are missing, and "paper", the
        default settings with the paper's 2048 transitions a task.
    """
    settings = {**GENERIC, **presets}
    settings.setdefault("paper", {**settings["default"], "num_steps": 2048})
    return {name: copy.deepcopy(dict(values)) for name, values in settings.items()}
