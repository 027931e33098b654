import numpy as np
import pytest

from pgx_jax.grouping import Automatic, ExactlyK, Penalised, SumWithin, cluster_by_goal
from pgx_jax.grouping.objectives import OBJECTIVES, GroupCounts
from pgx_jax.grouping.objectives.values import partition_value
from pgx_jax.grouping.partitions import normalise_affinity
from tests.grouping.affinities import KINDS, make_affinity
from tests.grouping.simulator import simulate_scores
from tests.reference import partitions as reference

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def optimum(affinity, goal, name):
    if isinstance(goal, ExactlyK):
        return reference.best_partition(affinity, goal.num_groups, name)[0]
    return reference.best_penalised(affinity, goal.penalty, name)


def goals(num_tasks, name):
    objective = OBJECTIVES[name]
    yield from (ExactlyK(size, objective) for size in range(1, num_tasks + 1))
    yield from (Penalised(penalty, objective) for penalty in (-0.5, 0.0, 0.7, 4.0))


@every_objective
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [1, 2, 4, 7])
def test_every_goal_is_reached_and_certified(kind, num_tasks, name):
    affinity = make_affinity(kind, num_tasks, seed=5)
    normalised = normalise_affinity(affinity)
    offset = OBJECTIVES[name].offset(normalised.mean, num_tasks)
    for goal in goals(num_tasks, name):
        grouping = cluster_by_goal(affinity, goal)
        counts = goal.counts(num_tasks)
        assert counts.fewest <= grouping.num_groups <= counts.most
        best = offset + normalised.spread * optimum(normalised.values, goal, name)
        assert grouping.objective == pytest.approx(best, abs=1e-9 * (1 + np.abs(affinity).sum()))
        assert grouping.upper_bound >= grouping.objective


@every_objective
def test_trivial_answers_are_optimal(name):
    clear = normalise_affinity(make_affinity("random", 5)).values
    constant = np.zeros((5, 5))
    answered = 0
    for affinity in (clear, constant, np.zeros((1, 1))):
        for goal in goals(len(affinity), name):
            labels = goal.trivial_labels(affinity)
            if labels is None:
                continue
            answered += 1
            counts = goal.counts(len(affinity))
            size = labels.max() + 1
            assert counts.fewest <= size <= counts.most
            np.testing.assert_array_equal(np.unique(labels), np.arange(size))
            value = partition_value(affinity, labels, goal.objective) - counts.cost(size)
            assert value == pytest.approx(optimum(affinity, goal, name))
    assert answered == 2 + 9 + 5


def test_counts_say_how_many_groups_and_what_they_cost():
    assert ExactlyK(3).counts(8) == GroupCounts(3, 3, 0.0)
    assert ExactlyK(3).counts(8).fixed
    assert Penalised(0.5).counts(8) == GroupCounts(1, 8, 0.5)
    assert not Penalised(0.5).counts(8).fixed
    assert Penalised(0.5).counts(8).cost(4) == 2.0
    assert ExactlyK(3).counts(8).cost(3) == 0.0


def test_goals_are_checked_and_resolve():
    assert ExactlyK(np.int64(3)).checked(4) == ExactlyK(3)
    assert type(Penalised(np.float32(1.0)).checked(4).penalty) is float
    for goal in (ExactlyK(2), Penalised(1.0)):
        assert goal.resolve() == (goal, None)
    for goal, message in (
        (ExactlyK(5), "whole number from 1 to the number of tasks, 4; got 5"),
        (ExactlyK(2.0), "whole number"),
        (ExactlyK(True), "whole number"),
        (Penalised(np.nan), "finite number"),
        (Penalised("much"), "finite number"),
        (Automatic(None, None), "scores and subsets missing"),
        (Automatic(np.zeros((4, 4)), None), "and subsets missing"),
    ):
        with pytest.raises(ValueError, match=message):
            goal.checked(4)


@every_objective
def test_automatic_resolves_to_the_number_of_groups(name):
    objective = OBJECTIVES[name]
    scores, subsets, group = simulate_scores(np.random.default_rng(0), "three", 150, 0.5)
    goal = Automatic(scores, subsets, max_groups=5, objective=objective).checked(10)
    resolved, errors = goal.resolve()
    assert resolved == ExactlyK(3, objective)
    assert list(errors) == [1, 2, 3, 4, 5]
    affinity = 1.0 * (group[:, None] == group)
    grouping = cluster_by_goal(affinity, goal)
    assert grouping.selection == errors
    np.testing.assert_array_equal(
        grouping.labels[:, None] == grouping.labels, group[:, None] == group
    )


def test_automatic_uses_its_rule_for_the_affinity():
    scores, subsets, group = simulate_scores(np.random.default_rng(1), "two", 60, 1.0)
    calls = []

    def refit(some, rows):
        calls.append(len(rows))
        return 1.0 * (group[:, None] == group)

    goal = Automatic(scores, subsets, refit, max_groups=3, objective=SumWithin()).checked(10)
    assert goal.resolve()[0].num_groups == 2
    assert len(calls) == 20
