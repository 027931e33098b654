"""Returns of training episodes against steps, so that curves of several trainings compare.

Long episodes seldom end in an update, so the tasks that ended one differ between updates and
between trainings; a mean over them would compare different tasks. Here every task keeps its last
known mean until its next episode ends, and a mean starts where all of its tasks have one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Points drawn, and the share of the training that a point averages over.
_CURVE_POINTS = 300
SMOOTHING = 0.05


class Training(NamedTuple):
    """One training, all its groups side by side.

    Attributes:
        env_steps: float[updates], environment steps spent, all groups together.
        returns: by task, float[updates]: mean of its episodes in the last update in which one
            ended; NaN before the first. Tasks that never ended an episode have no entry.
    """

    env_steps: np.ndarray
    returns: dict[str, np.ndarray]


class Curve(NamedTuple):
    """A learning curve, ready to draw.

    Attributes:
        env_steps: float[points], environment steps spent, all groups together.
        returns: float[points], mean over the tasks, smoothed.
    """

    env_steps: np.ndarray
    returns: np.ndarray


def read_training(
    rows: Sequence[Mapping[str, Any]], offset: float = 0.0, *, key: str = "returns"
) -> Training | None:
    """The training that these rows are of.

    Groups train one beside the other: at a share f of the training, every group is at f of its
    own updates, and the steps spent are the sum over the groups.

    Args:
        rows: of one stage, {"group", "env_steps", key: {task: mean}}.
        offset: environment steps spent before this training.
        key: where the rows hold their values.

    Returns:
        The training; None where no episode ended.
    """
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["env_steps"]):
        groups.setdefault(row["group"], []).append(row)
    if not groups:
        return None
    count = max(len(group) for group in groups.values())
    share = np.arange(1, count + 1) / count
    returns, total = {}, 0
    for group in groups.values():
        last = group[-1]["env_steps"]
        total += last
        for task in {task for row in group for task in row[key]}:
            seen = [
                (row["env_steps"] / last, row[key][task])
                for row in group
                if task in row[key] and np.isfinite(row[key][task])
            ]
            if seen:
                places, values = np.array(seen).T
                latest = np.searchsorted(places, share + 1e-9, side="right") - 1
                returns[task] = np.where(latest < 0, np.nan, values[np.maximum(latest, 0)])
    return Training(offset + share * total, returns) if returns else None


def mean_curve(training: Training, tasks: Iterable[str]) -> Curve | None:
    """Mean over these tasks from where each of them has a value, smoothed by a running mean.

    Args:
        training: holds each of the tasks.
        tasks: to average over.

    Returns:
        The curve; None without tasks.
    """
    values = [training.returns[task] for task in tasks]
    if not values:
        return None
    mean = np.mean(values, axis=0)
    count, first = len(mean), int(np.argmax(np.isfinite(mean)))
    smooth = _running_mean(mean[first:], round(SMOOTHING * count) // 2)
    drawn = np.unique(np.linspace(0, len(smooth) - 1, _CURVE_POINTS).round().astype(int))
    return Curve(training.env_steps[first:][drawn], smooth[drawn])


def common_tasks(trainings: Iterable[Training], tasks: Iterable[str]) -> list[str]:
    """Those of the tasks that ended an episode in every one of the trainings."""
    trainings = list(trainings)
    return [task for task in tasks if all(task in training.returns for training in trainings)]


def _running_mean(values: np.ndarray, half_width: int) -> np.ndarray:
    """Centred running mean, over what there is of the window at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first = np.maximum(index - half_width, 0)
    last = np.minimum(index + half_width + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
