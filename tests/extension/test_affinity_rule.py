"""An affinity rule from outside the package: the least of two tasks' scores, averaged."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

import pgx_jax
from pgx_jax.estimation.affinity.rules import AFFINITY_RULES, EstimatedAffinity
from tests.extension.tiny import tiny_run
from tests.test_pipeline import log_prob, problem  # noqa: F401 - a fixture


@dataclass(frozen=True)
class LeastOfTwo:
    def fit(self, scores, subsets):
        return EstimatedAffinity(self.refit(scores, subsets), self.refit)

    def refit(self, scores, subsets):
        subsets = np.asarray(subsets)
        scores = np.where(subsets, np.asarray(scores, np.float64), np.nan)
        standard = (scores - np.nanmean(scores, 0)) / np.nanstd(scores, 0)
        least = np.minimum(standard[:, :, None], standard[:, None, :])
        met = (subsets[:, :, None] & subsets[:, None, :]).sum(0)
        return np.where(met > 0, np.nansum(least, 0) / np.maximum(met, 1), 0.0)


@pytest.fixture(scope="module", autouse=True)
def registered():
    AFFINITY_RULES.register("least_of_two", LeastOfTwo())


@pytest.mark.parametrize("num_groups", [2, None])
def test_the_library_uses_it_by_name(problem, num_groups):  # noqa: F811
    params, transitions = problem
    found = pgx_jax.group_tasks(
        log_prob,
        params,
        transitions,
        num_groups=num_groups,
        key=jax.random.key(1),
        dim=16,
        subset_size=3,
        num_subsets=100,
        affinity="least_of_two",
    )
    assert found.affinity_kind == "least_of_two"
    assert found.grouping.labels.tolist() == [0, 1, 0, 1, 1, 0]
    expected = LeastOfTwo().refit(found.scores, found.subsets)
    np.testing.assert_allclose(found.affinity, expected)


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, affinity="least_of_two", methods=())
    assert report["config"]["affinity"] == "least_of_two"
