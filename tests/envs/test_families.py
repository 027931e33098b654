"""Families by name."""

import pytest

from pgx_jax.envs.families import FAMILIES, make_family, unknown_name


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r'unknown environment "cartpol"; did .* "cartpole"\?'):
        make_family("cartpol")


def test_unknown_name_lists_what_is_known():
    message = unknown_name("environment", "zzzz", FAMILIES)
    assert "did you mean" not in message
    assert all(name in message for name in FAMILIES)


def test_entries_are_complete():
    for entry in FAMILIES.values():
        assert entry.summary
        assert entry.extra
