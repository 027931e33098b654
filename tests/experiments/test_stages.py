"""A stage runs where its hash is new, and at no other time."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgx_jax
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.pipeline import Outcome
from tests.estimation.precision import strict_x64


@dataclass(frozen=True)
class Settings:
    size: int = 3


class Made(NamedTuple):
    value: jax.Array
    spare: jax.Array


class Maker:
    """A stage's function that counts its runs."""

    def __init__(self):
        self.runs = 0

    def __call__(self, settings, **parents):
        self.runs += 1
        total = sum(float(jnp.sum(one.value)) for one in parents.values())
        made = Made(jnp.arange(settings.size) + total, jnp.zeros(2))
        return Outcome(made, env_steps=settings.size, facts={"total": total})


@pytest.fixture
def folder(tmp_path):
    check_output_folder(tmp_path)
    return tmp_path


def runner_in(folder):
    return StageRunner(folder, Progress(quiet=True))


def test_a_finished_stage_is_not_run_twice_in_one_run(folder):
    runner, maker = runner_in(folder), Maker()
    once = runner("one", Settings(), {}, maker, Made)
    again = runner("one", Settings(), {}, maker, Made)
    assert maker.runs == 1
    assert again is once
    assert not runner.finished["one"].reused
    runner("one", Settings(4), {}, maker, Made)
    assert maker.runs == 2


def test_another_run_finds_it_on_disk_with_all_that_was_kept(folder):
    first, second, maker = runner_in(folder), runner_in(folder), Maker()
    made = first("one", Settings(), {}, maker, Made)
    found = second("one", Settings(), {}, maker, Made)
    assert maker.runs == 1
    assert second.finished["one"].reused
    jax.tree.map(np.testing.assert_array_equal, found, made)
    for name in ("hash", "env_steps", "facts"):
        before, after = (getattr(one.finished["one"], name) for one in (first, second))
        assert before == after
    assert second.finished["one"].env_steps == 3


def test_a_value_is_made_from_arrays_and_facts(folder):
    def like(arrays, facts):
        return arrays["value"].tolist(), facts["total"]

    maker = Maker()
    runner_in(folder)("one", Settings(), {}, maker, like)
    assert runner_in(folder)("one", Settings(), {}, maker, like) == ([0.0, 1.0, 2.0], 0.0)


def test_a_changed_parent_runs_what_is_made_from_it(folder):
    makers = Maker(), Maker(), Maker()

    def run(size):
        runner = runner_in(folder)
        one = runner("one", Settings(size), {}, makers[0], Made)
        runner("two", Settings(), {"one": one}, makers[1], Made)
        runner("alone", Settings(), {}, makers[2], Made)
        return runner.finished

    run(3)
    assert run(4)["two"].facts["total"] == 6.0
    assert [maker.runs for maker in makers] == [2, 2, 1]


def test_a_parent_is_named_by_what_stands_before_the_slash(folder):
    runner, seen = runner_in(folder), []
    trained = runner("train/any", Settings(), {}, Maker(), Made)

    def evaluate(settings, train):
        seen.append(train)
        return Outcome(jnp.ones(1))

    runner("evaluate/any", Settings(), {"train/any": trained}, evaluate)
    assert seen[0] is trained


def test_version_and_precision_are_part_of_every_hash(folder, monkeypatch):
    maker = Maker()

    def hash_now():
        runner = runner_in(folder)
        runner("one", Settings(), {}, maker, Made)
        return runner.finished["one"].hash

    usual = hash_now()
    with strict_x64():
        assert hash_now() != usual
    with monkeypatch.context() as patch:
        patch.setattr(pgx_jax, "__version__", "0.0.0")
        assert hash_now() != usual
    assert hash_now() == usual
    assert maker.runs == 4


def test_a_stage_that_fails_leaves_nothing(folder):
    def fail(settings):
        raise RuntimeError("no")

    runner, maker = runner_in(folder), Maker()
    with pytest.raises(RuntimeError, match="no"):
        runner("one", Settings(), {}, fail, Made)
    assert runner.finished == {}
    runner("one", Settings(), {}, maker, Made)
    assert maker.runs == 1
