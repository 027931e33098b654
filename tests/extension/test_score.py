"""A score from outside the package: how well the signs of advantages are told apart."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import pgx_jax
from pgx_jax.estimation.scores.base import SCORES, Scores
from tests.extension.tiny import tiny_run
from tests.test_pipeline import log_prob, problem  # noqa: F401 - a fixture


@dataclass(frozen=True)
class Accuracy:
    splits_transitions: bool = True

    def score(self, inputs):
        margins = jnp.einsum("ntd,md->mnt", inputs.features, inputs.fits.coef)
        right = (margins * inputs.advantage > 0) & inputs.mask
        return Scores(right.sum(-1) / inputs.mask.sum(-1))


@pytest.fixture(scope="module", autouse=True)
def registered():
    SCORES.register("accuracy", lambda options: Accuracy())


def test_the_library_uses_it_by_name(problem):  # noqa: F811
    params, transitions = problem
    found = pgx_jax.group_tasks(
        log_prob,
        params,
        transitions,
        num_groups=2,
        key=jax.random.key(1),
        dim=16,
        subset_size=3,
        num_subsets=100,
        kind="accuracy",
    )
    assert found.grouping.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert 0.0 <= float(found.scores.min()) <= float(found.scores.max()) <= 1.0


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, score="accuracy", methods=())
    assert report["config"]["score"] == "accuracy"
    assert report["env_steps"]["policygradex"]["scores"] == 0
