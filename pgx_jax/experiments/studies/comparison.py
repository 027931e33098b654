"""Policies by group against their alternatives at equal total environment steps."""

from collections.abc import Mapping

from pgx_jax.diagnostics import mean_interval
from pgx_jax.experiments.studies.base import STUDIES, Row, Study

_OURS = "policygradex"


def _paired(rows: Mapping[str, list[Row]]) -> Row:
    """Mean with interval per method, and the difference of ours to it, paired by seed."""
    return {
        case: {split: _by_method(found, split) for split in ("source", "test")}
        for case, found in rows.items()
    }


def _by_method(rows: list[Row], split: str) -> Row:
    scores = {
        name: [row["scores"][name][split]["mean"] for row in rows] for name in rows[0]["scores"]
    }
    result: Row = {name: {"score": mean_interval(values)} for name, values in scores.items()}
    for name, values in scores.items():
        if name != _OURS and _OURS in scores:
            difference = [a - b for a, b in zip(scores[_OURS], values, strict=True)]
            result[name][f"{_OURS}_minus_this"] = mean_interval(difference)
    return result


STUDIES.register(
    "comparison",
    Study(
        name="comparison",
        what="mean return per method, and PolicyGradEx's difference to it paired by seed",
        cases={
            "cartpole-planted": {"environment": "cartpole-planted"},
            "cartpole": {"environment": "cartpole"},
        },
        keep=(
            *("num_groups", "labels", "task_names", "affinity", "adjusted_rand_index"),
            *("method_adjusted_rand_index", "certified_gap", "selection", "scores", "env_steps"),
            *("total_env_steps", "held_out_selection_steps", "num_params", "method_labels"),
            *("methods", "wall_seconds"),
        ),
        summarise=_paired,
    ),
)
