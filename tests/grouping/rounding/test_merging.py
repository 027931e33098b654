import numpy as np
import pytest

from pgx_jax.grouping.objectives import OBJECTIVES
from pgx_jax.grouping.objectives.values import partition_values
from pgx_jax.grouping.partitions import canonical_labels, normalise_affinity
from pgx_jax.grouping.rounding.merging import greedy_merges
from tests.grouping.affinities import make_affinity
from tests.reference import partitions as reference


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_group_is_empty_and_values_are_those_of_the_partitions(name):
    affinity = make_affinity("random", 9)
    objective = OBJECTIVES[name]
    merges = greedy_merges(affinity, objective)
    for size, labels in enumerate(merges.labels, start=1):
        np.testing.assert_array_equal(np.unique(labels), np.arange(size))
        value = partition_values(affinity, labels[None], size, objective)[0]
        assert merges.values[size - 1] == pytest.approx(value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_best_merge_comes_first(name):
    affinity = normalise_affinity(make_affinity("random", 8)).values
    objective = OBJECTIVES[name]
    second_last = greedy_merges(affinity, objective).labels[6]
    best = reference.best_partition(affinity, 7, name)[0]
    assert partition_values(affinity, second_last[None], 7, objective)[0] == pytest.approx(best)


def naive_merges(affinity, objective):
    """Greedy merging by trying every pair of groups."""

    def worth(group):
        return objective.group_value(affinity[np.ix_(group, group)].sum(), len(group))

    groups = [[task] for task in range(len(affinity))]
    partitions = []
    while True:
        labels = np.empty(len(affinity), int)
        for number, group in enumerate(groups):
            labels[group] = number
        partitions.append(canonical_labels(labels))
        if len(groups) == 1:
            return np.array(partitions[::-1])
        value = [
            objective.group_value(affinity[np.ix_(group, group)].sum(), len(group))
            for group in groups
        ]
        best = (-np.inf, 0, 0)
        for first, one in enumerate(groups):
            for second in range(first + 1, len(groups)):
                both = one + groups[second]
                best = max(best, (worth(both) - value[first] - value[second], first, second))
        groups[best[1]] += groups.pop(best[2])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kind", ["random", "block", "low_rank", "heavy_tailed"])
def test_merges_equal_trying_every_pair(kind, name):
    objective = OBJECTIVES[name]
    affinity = normalise_affinity(make_affinity(kind, 14)).values
    np.testing.assert_array_equal(
        greedy_merges(affinity, objective).labels, naive_merges(affinity, objective)
    )
