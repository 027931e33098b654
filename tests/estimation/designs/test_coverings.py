import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.estimation import schoenheim_bound
from pgx_jax.estimation.designs.coverings import as_membership, cover_pairs, fill


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(2, 12))
def test_coverings_hold_every_pair(num_points, size):
    bound = schoenheim_bound(num_points, min(size, num_points))
    for blocks in cover_pairs(num_points, size):
        assert blocks.shape[1] == size
        member = as_membership(blocks, num_points)
        assert member.sum() == (blocks >= 0).sum()  # no point twice in a block
        counts = member.T.astype(int) @ member
        assert counts[~np.eye(num_points, dtype=bool)].min() >= 1
        assert len(blocks) >= bound
    assert len(blocks) <= 1.5 * bound + 2


@pytest.mark.parametrize(
    ("num_points", "size", "fewest"),
    [
        # Known optima (La Jolla covering repository): the bound itself, but for (10, 4).
        (7, 3, 7),
        (8, 3, 11),
        (11, 3, 19),
        (10, 4, 9),
        (13, 4, 13),
        (16, 4, 20),
        (40, 4, 130),
        (21, 5, 21),
        (31, 6, 31),
        (57, 8, 57),
    ],
)
def test_fewest_blocks_are_found(num_points, size, fewest):
    assert len(cover_pairs(num_points, size).shrunk) == fewest


def test_bound_by_hand():
    assert schoenheim_bound(1, 1) == 1
    assert schoenheim_bound(7, 3) == 7
    assert schoenheim_bound(10, 4) == 8  # ceil(10/4 * 3)
    assert schoenheim_bound(10, 4, 2) == 15
    assert schoenheim_bound(50, 7) == 65
    assert schoenheim_bound(1000, 32) == 1032


def test_filling_adds_only_what_is_missing():
    rng = np.random.default_rng(0)
    member = as_membership(cover_pairs(12, 4).constructed, 12)
    filled = fill(member, 4, rng)
    assert (filled.sum(axis=1) == 4).all()
    assert (filled | member == filled).all()
    assert (fill(member[:3, :3] | True, 9, rng).sum(axis=1) == 3).all()
