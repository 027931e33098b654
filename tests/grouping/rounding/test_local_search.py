import numpy as np
import pytest

from pgx_jax.grouping.objectives import OBJECTIVES, partition_objective
from pgx_jax.grouping.objectives.values import partition_values
from pgx_jax.grouping.partitions import normalise_affinity
from pgx_jax.grouping.rounding import local_search as module
from pgx_jax.grouping.rounding.local_search import local_search
from tests.grouping.affinities import make_affinity


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("num_groups", [2, 3, 5])
def test_local_search_ends_where_no_move_and_no_swap_helps(num_groups, name):
    objective = OBJECTIVES[name]
    num_tasks = 8
    rng = np.random.default_rng(num_groups)
    affinity = normalise_affinity(rng.normal(size=(num_tasks, num_tasks))).values
    starts = rng.permuted(np.tile(np.arange(num_tasks) % num_groups, (20, 1)), axis=1)
    final = local_search(affinity, starts, num_groups, objective)
    values = partition_values(affinity, final, num_groups, objective)
    np.testing.assert_allclose(
        values, [partition_objective(affinity, labels, objective) for labels in final], atol=1e-12
    )
    assert np.all(values >= partition_values(affinity, starts, num_groups, objective) - 1e-12)
    for labels, value in zip(final, values, strict=True):
        assert len(np.unique(labels)) == num_groups
        neighbours = []
        for i in range(num_tasks):
            for group in range(num_groups):
                changed = labels.copy()
                changed[i] = group
                neighbours.append(changed)
            for j in range(num_tasks):
                changed = labels.copy()
                changed[[i, j]] = labels[[j, i]]
                neighbours.append(changed)
        allowed = [row for row in neighbours if len(np.unique(row)) == num_groups]
        assert max(partition_objective(affinity, row, objective) for row in allowed) <= value + 1e-8


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kind", ["random", "block", "low_rank"])
def test_one_start_after_another_makes_the_same_moves(kind, name, monkeypatch):
    objective = OBJECTIVES[name]
    affinity = normalise_affinity(make_affinity(kind, 24)).values
    starts = np.random.default_rng(0).permuted(np.tile(np.arange(24) % 5, (8, 1)), axis=1)
    together = local_search(affinity, starts, 5, objective)
    monkeypatch.setattr(module, "LARGEST_BATCHED", 10)
    np.testing.assert_array_equal(local_search(affinity, starts, 5, objective), together)
    assert (
        partition_values(affinity, together, 5, objective)
        > partition_values(affinity, starts, 5, objective)
    ).all()
