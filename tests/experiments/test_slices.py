"""A stage cannot read a setting that its hash does not hold."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from pgx_jax import settings as estimation_settings
from pgx_jax.experiments import settings as run_settings
from pgx_jax.experiments.compare import compare_methods
from pgx_jax.experiments.estimate import estimate_groups
from pgx_jax.experiments.fingerprint import digest
from pgx_jax.experiments.leaves import leaf_values, leaves
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import family_of
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.slices import learner_slice, meta_slice, task_slice
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.networks import MLP
from pgx_jax.rl.algorithms import PPOConfig
from tests.experiments.tiny import tiny_config

RECORDS = tuple(
    one
    for module in (estimation_settings, run_settings)
    for one in vars(module).values()
    if isinstance(one, type) and dataclasses.is_dataclass(one)
)
CHOICES = (*RECORDS, PPOConfig, MLP)


def parts_of(value: Any) -> list[Any]:
    """What a value holds: arguments, closures, fields, elements."""
    if isinstance(value, np.ndarray | jax.Array | str | StageRunner):
        return []
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, tuple | list):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name) for one in dataclasses.fields(value)]
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return [*cells, *([value.__self__] if hasattr(value, "__self__") else [])]


def reachable(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """All settings and choices that can be read from a value."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, CHOICES):
        yield value
    for part in parts_of(value):
        yield from reachable(part, seen)


class Recorder(StageRunner):
    """A runner that remembers what every stage was given."""

    def __call__(self, name, settings, parents, function, like=None):
        self.calls = getattr(self, "calls", {})
        self.calls[name] = (settings, list(parents), function)
        return super().__call__(name, settings, parents, function, like)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    config = tiny_config(score="rollout")
    check_output_folder(folder)
    runner = Recorder(folder, Progress(quiet=True))
    family = family_of(config)
    compare_methods(runner, family, config, estimate_groups(runner, family, config))
    return runner.calls


def hashed_with(calls, name):
    """The slices of a stage and of all the stages that it is made from."""
    settings, parents, _ = calls[name]
    return [settings, *(one for parent in parents for one in hashed_with(calls, parent))]


@pytest.mark.slow
def test_every_setting_within_reach_is_hashed(calls):
    assert {"meta", "features", "scores", "train/policygradex", "evaluate/single_policy"} <= set(
        calls
    )
    for name, (_, _, function) in calls.items():
        held = list(reachable(hashed_with(calls, name)))
        for record in reachable(function):
            assert not isinstance(record, RunConfig), name
            assert record in held, f"{name} can read {record}"


def test_a_closure_over_the_configuration_would_be_seen():
    config = tiny_config()
    assert config in list(reachable(lambda: config))
    assert config.tasks in list(reachable(partial(print, {"a": (config,)})))


def changed(value: Any) -> Any:
    """Another value of a setting."""
    if isinstance(value, bool | str | None):
        return "other"
    if isinstance(value, PPOConfig):
        return dataclasses.replace(value, num_epochs=value.num_epochs + 1)
    return (*value, 3) if isinstance(value, tuple) else value + 1


@pytest.mark.parametrize("name", sorted(leaves(RunConfig)))
def test_every_setting_changes_the_hash_of_a_slice_that_holds_it(name):
    config = tiny_config()
    other = config.replace(**{name: changed(leaf_values(config)[name])})
    assert digest(config) != digest(other)


def warm(**settings):
    return tiny_config("metaworld-mt10", warm_start="experts", **settings)


def test_steps_of_cloning_count_where_policies_are_cloned():
    few, many = warm(clone_steps=100), warm(clone_steps=200)
    assert digest(meta_slice(few)) != digest(meta_slice(many))
    assert digest(learner_slice(few)) != digest(learner_slice(many))
    # What the experts show does not depend on them, nor do policies that start afresh.
    assert digest(task_slice(few)) == digest(task_slice(many))
    cold = [
        meta_slice(config.replace(warm_start="none", demonstrations=demonstrations))
        for config, demonstrations in ((few, 1), (many, 2))
    ]
    assert digest(cold[0]) == digest(cold[1])


def test_a_task_file_counts_by_its_content(tmp_path):
    def slice_with(name, content):
        file = tmp_path / name
        file.write_text(content)
        return task_slice(tiny_config("gymnax:Pendulum-v1", task_file=str(file)))

    once = slice_with("one.py", 'ranges = {"g": (5.0, 15.0)}\n')
    again = slice_with("two.py", 'ranges = {"g": (5.0, 15.0)}\n')
    other = slice_with("one.py", 'ranges = {"g": (5.0, 16.0)}\n')
    assert digest(once) == digest(again)
    assert digest(once) != digest(other)


def test_an_identity_of_its_own_counts():
    config = tiny_config()
    assert digest(task_slice(config)) != digest(task_slice(config, "one_hot"))
    assert digest(task_slice(config.replace(identity="one_hot"))) == digest(
        task_slice(config, "one_hot")
    )
