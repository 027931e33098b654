"""The library and the program estimate alike: the same function, run at once or stage by stage."""

import jax
import numpy as np
import pytest

import pgx_jax
from pgx_jax.estimation.designs.usual import usual_design
from pgx_jax.estimation.scores.rollout import TracedRollouts
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.pipeline import (
    Outcome,
    estimate,
    run_now,
    stage_key,
    standardised_transitions,
    subsets_stage,
)
from pgx_jax.settings import (
    DesignSettings,
    EstimationSettings,
    GroupingSettings,
    ProjectionSettings,
    ScoreSettings,
)
from pgx_jax.types import PolicyFunction
from tests.test_pipeline import expected_return, log_prob, problem  # noqa: F401 - a fixture

KEY = jax.random.key(3)


def runner_in(folder):
    check_output_folder(folder)
    return StageRunner(folder, Progress(quiet=True))


@pytest.mark.parametrize("num_tasks", [5, 10, 30, 50, 100])
def test_library_and_program_draw_the_same_subsets(num_tasks, tmp_path):
    key = stage_key(KEY, "subsets")
    asked = make_config("cartpole", num_tasks=num_tasks).estimation.design
    assert asked == DesignSettings()
    # As group_tasks does, with the run's key.
    expected = usual_design(num_tasks).draw(key)
    for stage in (run_now, runner_in(tmp_path), runner_in(tmp_path)):
        subsets = subsets_stage(stage, asked, num_tasks, key)
        np.testing.assert_array_equal(subsets, expected)


@pytest.mark.slow
@pytest.mark.parametrize("num_groups", [2, None])
@pytest.mark.parametrize("score", ["surrogate", "rollout"])
def test_library_and_program_give_the_same_groups(problem, tmp_path, score, num_groups):  # noqa: F811
    params, transitions = problem
    transitions = transitions._replace(mask=np.ones(transitions.advantage.shape, bool))
    transitions = standardised_transitions(transitions)
    settings = EstimationSettings(
        projection=ProjectionSettings(dim=16),
        design=DesignSettings(num_subsets=30, subset_size=3),
        score=ScoreSettings(score),
        grouping=GroupingSettings(num_groups, max_groups=4),
    )

    def estimated(stage):
        return estimate(
            PolicyFunction(log_prob, params),
            transitions,
            settings,
            KEY,
            stage=stage,
            rollouts=TracedRollouts(expected_return, None),
        )

    def in_stages():
        runner = runner_in(tmp_path)
        runner("transitions", "made up", {}, lambda _: Outcome(transitions), transitions)
        return runner, estimated(runner)

    library = pgx_jax.group_tasks(
        log_prob,
        params,
        problem[1],
        num_groups=num_groups,
        key=KEY,
        rollout=expected_return,
        kind=score,
        dim=16,
        num_subsets=30,
        subset_size=3,
        max_groups=4,
    )
    (first, program), (second, resumed) = in_stages(), in_stages()
    assert not any(stage.reused for stage in first.finished.values())
    assert all(stage.reused for stage in second.finished.values())
    assert library.grouping.num_groups == 2
    for other in (estimated(run_now), program, resumed):
        for name in ("scores", "subsets", "affinity"):
            np.testing.assert_array_equal(getattr(library, name), getattr(other, name))
        np.testing.assert_array_equal(library.grouping.labels, other.grouping.labels)
        assert library.grouping._replace(labels=None) == other.grouping._replace(labels=None)
        assert library.affinity_kind == other.affinity_kind
