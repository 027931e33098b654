"""Brax families: the published tasks, and what a family says of itself."""

import math
import sys

import numpy as np
import pytest

pytest.importorskip("brax")

from pgx_jax.envs.brax import adapter as brax_adapter
from pgx_jax.envs.brax.adapter import BraxEnvironment
from pgx_jax.envs.brax.families import (
    ANGLE_RANGE,
    RANGES,
    SPEED_RANGE,
    brax_ant,
    brax_halfcheetah,
    sample_brax_tasks,
)

MAKERS = {"halfcheetah": brax_halfcheetah, "ant": brax_ant}
NAMES = tuple(MAKERS)


class TestTasks:
    @pytest.mark.parametrize("name", NAMES)
    def test_lie_in_the_published_ranges_and_fill_them(self, name):
        tasks = sample_brax_tasks(name, 0, 2000)
        for field, (low, high) in RANGES.items():
            values = np.asarray(getattr(tasks, field))
            assert values.min() >= low
            assert values.max() <= high
            # Log-uniform: the median is the geometric mean.
            assert np.median(values) == pytest.approx(math.sqrt(low * high), rel=0.05)
        target = np.asarray(tasks.target)
        low, high = SPEED_RANGE if name == "halfcheetah" else ANGLE_RANGE
        size = np.abs(target) if name == "halfcheetah" else target
        assert low <= size.min() <= low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) <= size.max() <= high
        assert (target > 0).mean() == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_first_are_the_same_whatever_their_number(self, name):
        few, many = sample_brax_tasks(name, 3, 4), sample_brax_tasks(name, 3, 9)
        for one, other in zip(few, many, strict=True):
            np.testing.assert_array_equal(one, other[:4])

    @pytest.mark.parametrize("name", NAMES)
    def test_family(self, name):
        family = MAKERS[name]()
        assert family.name == f"brax-{name}"
        assert family.num_tasks == 10
        assert len(family.test_tasks.target) == 50
        assert "backend spring" in family.notes[0]
        for low, high in RANGES.values():
            assert f"[{low:g}, {high:g}]" in family.description
        # A published family has tasks that pull in different ways.
        directions = np.sign(np.cos(family.train_tasks.target - family.train_tasks.target[0]))
        if name == "halfcheetah":
            directions = np.sign(family.train_tasks.target)
        assert set(directions) == {-1, 1}

    def test_backend_is_named_and_checked(self):
        family = brax_ant(num_tasks=1, num_test_tasks=1, backend="positional")
        assert family.environment.backend == "positional"
        assert "backend positional" in family.notes[0]
        with pytest.raises(ValueError, match='unknown brax backend "pybullet"; known: spring'):
            brax_ant(backend="pybullet")
        with pytest.raises(ValueError, match='unknown brax environment "hopper"'):
            BraxEnvironment("hopper")
        with pytest.raises(ValueError, match='unknown brax loop "rust"'):
            BraxEnvironment("ant", loop="rust")

    def test_a_missing_package_is_named(self, monkeypatch):
        brax_adapter._make.cache_clear()
        monkeypatch.setitem(sys.modules, "brax", None)
        with pytest.raises(ImportError, match=r'needs brax: pip install "pgx_jax\[brax\]"$'):
            brax_halfcheetah()

    def test_environments_compare_by_value(self):
        assert BraxEnvironment("ant") == BraxEnvironment("ant")
        assert hash(BraxEnvironment("ant")) == hash(BraxEnvironment("ant"))
        assert BraxEnvironment("ant") != BraxEnvironment("ant", "positional")
