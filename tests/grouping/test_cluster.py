import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgx_jax.grouping as grouping_package
from pgx_jax.grouping import SumWithin, cluster_tasks, normalise_affinity, partition_objective
from pgx_jax.types import Grouping
from tests.grouping.affinities import KINDS, make_affinity
from tests.reference import partitions as reference


def with_mean_diagonal(affinity: np.ndarray) -> np.ndarray:
    symmetric = (affinity + affinity.T) / 2
    np.fill_diagonal(symmetric, symmetric[~np.eye(len(symmetric), dtype=bool)].mean())
    return symmetric


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 3, 5, 7])
def test_bound_objective_and_optimum(kind, num_tasks):
    affinity = make_affinity(kind, num_tasks, seed=num_tasks) * 3 + 11
    counted = with_mean_diagonal(affinity)
    small = 1e-9 * np.abs(counted).sum()
    for size in range(1, num_tasks + 1):
        grouping = cluster_tasks(affinity, size)
        assert isinstance(grouping, Grouping)
        assert grouping.num_groups == size
        np.testing.assert_array_equal(np.unique(grouping.labels), np.arange(size))
        assert grouping.objective == pytest.approx(partition_objective(counted, grouping.labels))
        optimum = reference.best_partition(counted, size)[0]
        assert grouping.objective == pytest.approx(optimum, abs=small)
        assert grouping.upper_bound >= optimum - small
        assert grouping.certified_gap >= 0
        trivial = size in (1, num_tasks) or kind == "constant"
        assert grouping.status == ("optimal" if trivial else "optimal (CLARABEL)")
        assert grouping.selection is None


@pytest.mark.slow
@pytest.mark.parametrize("num_tasks", [4, 6, 8, 9])
def test_bound_above_optimum_at_more_sizes(num_tasks):
    for seed in range(3):
        affinity = normalise_affinity(make_affinity("asymmetric", num_tasks, seed=seed)).values
        for size in range(2, num_tasks):
            grouping = cluster_tasks(affinity, size)
            assert grouping.upper_bound >= reference.best_partition(affinity, size)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.7, 3.0])
def test_penalty_against_enumeration(kind, penalty):
    affinity = make_affinity(kind, 6, seed=2) * 2 - 1
    counted = with_mean_diagonal(affinity)
    in_units = penalty * normalise_affinity(affinity).spread
    optimum = reference.best_penalised(counted, in_units)
    grouping = cluster_tasks(affinity, penalty=penalty)
    small = 1e-9 * np.abs(counted).sum()
    assert grouping.objective == pytest.approx(optimum, abs=small)
    assert grouping.upper_bound >= optimum - small
    assert grouping.objective == pytest.approx(
        partition_objective(counted, grouping.labels) - in_units * grouping.num_groups
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"num_groups": 3}, {"penalty": 0.0}, {"penalty": 1.5}])
def test_sum_within_groups_against_enumeration(kind, options):
    affinity = make_affinity(kind, 7, seed=4) * 2 + 3
    normalised = normalise_affinity(affinity)
    if "num_groups" in options:
        optimum = reference.best_partition(normalised.values, 3, "sum")[0]
    else:
        optimum = reference.best_penalised(normalised.values, options["penalty"], "sum")
    grouping = cluster_tasks(affinity, **options, objective="sum")
    small = 1e-9 * np.abs(affinity).sum()
    assert grouping.objective == pytest.approx(normalised.spread * optimum, abs=small)
    assert grouping.upper_bound >= normalised.spread * optimum - small
    # In the units of the affinity: what the pairs together have above the mean.
    excess = (affinity + affinity.T) / 2 - normalised.mean
    np.fill_diagonal(excess, 0.0)
    cost = options.get("penalty", 0.0) * normalised.spread * grouping.num_groups
    assert grouping.objective == pytest.approx(
        partition_objective(excess, grouping.labels, SumWithin()) - cost, abs=small
    )
    moved = cluster_tasks(3 * affinity - 7, **options, objective=SumWithin())
    np.testing.assert_array_equal(moved.labels, grouping.labels)


def test_the_sum_leaves_the_number_of_groups_to_the_affinity():
    group = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    noise = np.random.default_rng(0).normal(size=(9, 9))
    affinity = 1.0 * (group[:, None] == group) + 0.1 * noise
    grouping = cluster_tasks(affinity, penalty=0.0, objective="sum")
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.certified_gap < 1e-5
    # By the mean within groups a group is never too small, unless it costs something.
    assert cluster_tasks(affinity, penalty=0.0).num_groups == 3


def test_larger_penalty_never_gives_more_groups():
    affinity = make_affinity("random", 9)
    sizes = [cluster_tasks(affinity, penalty=value).num_groups for value in (0, 0.3, 1, 3, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1
    assert sizes[-1] == 1


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 9), st.data())
def test_groups_follow_the_tasks(num_tasks, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    size = data.draw(st.integers(1, num_tasks))
    order = np.array(data.draw(st.permutations(range(num_tasks))))
    affinity = make_affinity("asymmetric", num_tasks, seed=seed)
    plain = cluster_tasks(affinity, size)
    permuted = cluster_tasks(affinity[np.ix_(order, order)], size)
    np.testing.assert_array_equal(
        permuted.labels[:, None] == permuted.labels,
        plain.labels[order][:, None] == plain.labels[order],
    )
    assert permuted.upper_bound == pytest.approx(plain.upper_bound)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 100.0), st.floats(-100.0, 100.0), st.integers(0, 10**6), st.integers(2, 6))
def test_invariant_to_shift_and_scale(scale, shift, seed, size):
    affinity = make_affinity("asymmetric", 7, seed=seed)
    plain = cluster_tasks(affinity, size)
    moved = cluster_tasks(scale * affinity + shift, size)
    np.testing.assert_array_equal(moved.labels, plain.labels)
    assert moved.objective == pytest.approx(scale * plain.objective + 7 * shift, rel=1e-6, abs=1e-6)
    assert moved.certified_gap == pytest.approx(
        scale * plain.certified_gap, rel=1e-3, abs=1e-5 * scale
    )


def test_diagonal_is_ignored():
    affinity = make_affinity("random", 6)
    changed = affinity.copy()
    np.fill_diagonal(changed, [np.nan, np.inf, 1e9, -5, 0, 1])
    first, second = cluster_tasks(affinity, 3), cluster_tasks(changed, 3)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.objective == second.objective


def test_one_and_two_tasks():
    one = cluster_tasks([[3.0]], 1)
    assert (one.labels.tolist(), one.objective, one.upper_bound) == ([0], 3.0, 3.0)
    assert cluster_tasks([[3.0]], penalty=2.0).objective == pytest.approx(1.0)
    assert cluster_tasks([[0, 1], [3, 0]], 1).objective == pytest.approx(4.0)
    assert cluster_tasks([[0, 1], [3, 0]], 2).labels.tolist() == [0, 1]
    assert cluster_tasks([[0, 1], [3, 0]], penalty=0.1).num_groups == 1


def test_trivial_sizes_are_certified_exactly():
    affinity = make_affinity("random", 8)
    for size in (1, 8):
        assert cluster_tasks(affinity, size).certified_gap == 0.0


def test_clear_groups_have_no_gap():
    group = np.repeat([0, 1, 2], [4, 3, 3])
    noise = np.random.default_rng(0).normal(size=(10, 10))
    affinity = 2.0 * (group[:, None] == group) + 0.1 * noise
    for solver, gap in (("CLARABEL", 1e-5), ("SCS", 1e-2), ("ADMM", 1e-2), (None, 1e-5)):
        grouping = cluster_tasks(affinity, 3, solver=solver)
        np.testing.assert_array_equal(grouping.labels, group)
        assert grouping.certified_gap < gap


def test_failed_solver_still_certifies(monkeypatch):
    import cvxpy

    def fail(*args, **kwargs):
        raise cvxpy.error.SolverError("out of luck")

    monkeypatch.setattr(cvxpy.Problem, "solve", fail)
    affinity = normalise_affinity(make_affinity("random", 7)).values
    grouping = cluster_tasks(affinity, 3)
    optimum = reference.best_partition(affinity, 3)[0]
    assert grouping.status.startswith("failed")
    assert grouping.objective == pytest.approx(optimum)
    assert grouping.upper_bound >= optimum


def test_input_is_left_alone():
    affinity = make_affinity("random", 6)
    before = affinity.copy()
    cluster_tasks(affinity, 2)
    np.testing.assert_array_equal(affinity, before)


AFFINITY = make_affinity("random", 5)
MISSING = AFFINITY.copy()
MISSING[1, 3] = MISSING[3, 1] = np.nan
SCORES = np.random.default_rng(0).normal(size=(12, 5))
SUBSETS = np.random.default_rng(1).permuted(
    np.tile([True, True, True, False, False], (12, 1)), axis=1
)


@pytest.mark.parametrize(
    ("affinity", "options", "message"),
    [
        (AFFINITY, {"num_groups": 0}, "whole number from 1 to the number of tasks, 5; got 0"),
        (AFFINITY, {"num_groups": 6}, "whole number from 1"),
        (AFFINITY, {"num_groups": 2.0}, "whole number from 1"),
        (AFFINITY, {"num_groups": True}, "whole number from 1"),
        (AFFINITY, {"num_groups": "3"}, "whole number from 1"),
        (AFFINITY, {"num_groups": 2, "penalty": 1.0}, "both given"),
        (AFFINITY, {"penalty": np.nan}, "finite number"),
        (AFFINITY, {"penalty": np.inf}, "finite number"),
        (AFFINITY, {"penalty": "much"}, "finite number"),
        (
            AFFINITY,
            {},
            "scores and subsets missing.*validation.*give num_groups or penalty",
        ),
        (AFFINITY, {"scores": SCORES}, "and subsets missing"),
        (AFFINITY, {"num_groups": 2, "solver": "GUROBI"}, "solver must be one of"),
        (AFFINITY, {"num_groups": 2, "objective": "means"}, 'did you mean "mean"'),
        (AFFINITY[:4], {"num_groups": 2}, "square matrix"),
        (MISSING, {"num_groups": 2}, r"pairs \(1, 3\)\. .*balanced_subsets"),
        (AFFINITY[:4, :4], {"scores": SCORES, "subsets": SUBSETS}, "of 5 tasks, the affinity"),
        (
            AFFINITY,
            {"scores": SCORES, "subsets": SUBSETS, "max_groups": 0},
            "max_groups must be",
        ),
    ],
)
def test_bad_requests(affinity, options, message):
    with pytest.raises(ValueError, match=message):
        cluster_tasks(affinity, **options)


def test_missing_cvxpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match="pip install"):
        cluster_tasks(AFFINITY, 2)


def test_grouping_works_without_jax_and_imports_cvxpy_late():
    # A stand-in for the parent package, whose own imports are not this test's business.
    program = f"""
import sys, types
# cvxpy imports JAX where it finds it; here it must do without.
sys.modules.update(dict.fromkeys(["jax", "jaxlib", "flax", "gymnax", "sklearn"]))
parent = types.ModuleType("pgx_jax")
parent.__path__ = [{str(Path(grouping_package.__file__).parents[1])!r}]
sys.modules["pgx_jax"] = parent
import numpy as np
from pgx_jax.grouping import cluster_tasks
assert "cvxpy" not in sys.modules
assert cluster_tasks(np.random.default_rng(0).normal(size=(5, 5)), 2).num_groups == 2
assert "cvxpy" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.slow
def test_a_hundred_tasks():
    group = np.arange(100) % 10
    noise = np.random.default_rng(0).normal(size=(100, 100))
    affinity = 1.0 * (group[:, None] == group) + 0.4 * noise
    grouping = cluster_tasks(affinity, 10)
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.certified_gap < 1e-3 * abs(grouping.objective)
    assert grouping.status == "optimal (ADMM)"


@pytest.mark.slow
def test_a_thousand_tasks():
    group = np.arange(1000) % 10
    noise = np.random.default_rng(0).normal(size=(1000, 1000))
    grouping = cluster_tasks(1.0 * (group[:, None] == group) + noise, 10)
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.certified_gap < 0.01 * abs(grouping.objective)


@pytest.mark.parametrize("penalty", [4.0, 8.0])
def test_penalty_with_many_tasks(penalty):
    group = np.arange(80) % 4
    noise = np.random.default_rng(0).normal(size=(80, 80))
    affinity = 1.0 * (group[:, None] == group) + 0.3 * noise
    grouping = cluster_tasks(affinity, penalty=penalty)
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.certified_gap < 1e-3 * abs(grouping.objective)
