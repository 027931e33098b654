import numpy as np
import pytest

from pgx_jax.estimation.designs.constructions import (
    affine_lines,
    projective_lines,
    transversal_blocks,
    triple_system,
    truncate,
)
from pgx_jax.estimation.designs.coverings import as_membership


def pair_counts(blocks, num_points):
    member = as_membership(blocks, num_points).astype(np.float32)
    return member.T @ member


def assert_every_pair_once(blocks, num_points):
    counts = pair_counts(blocks, num_points)
    assert (counts[np.triu_indices(num_points, 1)] == 1).all()


@pytest.mark.parametrize(
    ("dim", "order"), [(1, 3), (2, 2), (2, 3), (2, 4), (2, 7), (2, 8), (2, 9), (3, 3), (4, 2)]
)
def test_lines_hold_every_pair_once(dim, order):
    affine = affine_lines(dim, order)
    assert affine.shape == (order ** (dim - 1) * (order**dim - 1) // (order - 1), order)
    assert_every_pair_once(affine, order**dim)
    projective = projective_lines(dim, order)
    assert projective.shape[1] == order + 1
    assert_every_pair_once(projective, (order ** (dim + 1) - 1) // (order - 1))


@pytest.mark.parametrize(("num_groups", "order"), [(2, 2), (3, 2), (4, 5), (8, 7), (4, 9)])
def test_transversal_blocks(num_groups, order):
    blocks = transversal_blocks(num_groups, order)
    counts = pair_counts(blocks, num_groups * order)
    group = np.arange(num_groups * order) // order
    different = group[:, None] != group
    assert (counts[different] == 1).all()
    assert (counts[~different & ~np.eye(len(group), dtype=bool)] == 0).all()
    np.testing.assert_array_equal(blocks // order, np.tile(np.arange(num_groups), (order**2, 1)))


@pytest.mark.parametrize("num_points", [3, 7, 9, 13, 15, 19, 21, 25, 27, 31])
def test_triple_systems(num_points):
    blocks = triple_system(num_points)
    assert blocks.shape == (num_points * (num_points - 1) // 6, 3)
    assert_every_pair_once(blocks, num_points)


def test_deleting_points_leaves_pairs_covered_once():
    blocks = truncate(projective_lines(2, 7), np.arange(50))
    assert_every_pair_once(blocks, 50)
    np.testing.assert_array_equal(np.bincount((blocks >= 0).sum(axis=1)), [0] * 7 + [49, 7])
    kept = np.random.default_rng(0).permutation(25)[:17]
    assert_every_pair_once(truncate(affine_lines(2, 5), kept), 17)


def test_what_does_not_exist():
    for num_points in (2, 5, 8, 12):
        with pytest.raises(ValueError, match="triple systems have 1 or 3 modulo 6 points"):
            triple_system(num_points)
    with pytest.raises(ValueError, match="with q = 3 it is from 2 to 4"):
        transversal_blocks(5, 3)
    with pytest.raises(ValueError, match="order is 6"):
        affine_lines(2, 6)
