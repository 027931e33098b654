import dataclasses

import pytest

from pgx_jax.envs.families import FAMILIES, presets_of
from pgx_jax.experiments.config import RunConfig, make_config


@pytest.mark.parametrize("environment", FAMILIES)
@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_every_environment_has_every_preset(environment, preset):
    config = make_config(environment, preset)
    assert (config.environment, config.preset) == (environment, preset)


def test_presets_only_name_fields():
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    for environment in FAMILIES:
        for settings in presets_of(environment).values():
            assert set(settings) <= fields


def test_transitions_per_task_are_the_papers_and_ours():
    assert make_config("cartpole", "paper").num_steps == 2048
    assert make_config("cartpole").num_steps == 8192
    assert make_config("cartpole").dim == 400


def test_none_leaves_the_presets_value():
    assert make_config("cartpole", dim=None) == make_config("cartpole")
    assert make_config("cartpole", dim=7).dim == 7


def test_another_number_of_tasks_takes_planned_subsets():
    config = make_config("cartpole", num_tasks=60)
    assert (config.subset_size, config.num_subsets, config.affinity) == (8, None, "completed")
    config = make_config("cartpole", num_tasks=60, affinity="pair")
    assert (config.num_subsets, config.affinity) == (None, "pair")
    config = make_config("cartpole", num_tasks=60, num_subsets=900)
    assert (config.subset_size, config.num_subsets, config.affinity) == (4, 900, "additive")
    config = make_config("cartpole", num_tasks=20)
    assert (config.subset_size, config.num_subsets, config.affinity) == (4, 200, "additive")
    preset = make_config("metaworld-mt50")
    assert (preset.subset_size, preset.num_subsets, preset.affinity) == (8, 150, "completed")
    assert make_config("metaworld-mt50", num_tasks=50) == preset


@pytest.mark.parametrize(
    ("environment", "preset", "message"),
    [
        ("cartpol", "default", 'unknown environment "cartpol"; did you mean "cartpole"'),
        ("zzz", "default", 'unknown environment "zzz". Known: brax-ant'),
        ("cartpole", "defualt", 'unknown preset "defualt"; did you mean "default"'),
    ],
)
def test_unknown_names_suggest_the_nearest(environment, preset, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        make_config(environment, preset)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_groups": 0}, "num_groups is 0; it must be between 1 and num_tasks = 10"),
        ({"num_groups": 11}, "num_groups is 11; it must be between 1 and num_tasks = 10"),
        ({"subset_size": 1}, "subset_size is 1; it must be between 2"),
        ({"subset_size": 11}, "subset_size is 11"),
        ({"dim": 0}, "dim is 0; it must be at least 1"),
        ({"num_steps": -1}, "num_steps is -1"),
        ({"l2": 0.0}, r"l2 is 0\.0; it must be positive"),
        ({"rho": float("inf")}, "rho is inf; it must be positive and finite"),
        ({"seed": -1}, "seed is -1; it must be from 0"),
        ({"num_tasks": 4}, "too few to choose the number of groups on; give num_groups"),
        ({"num_tasks": 3}, "subset_size is 4; .*set subset_size along with num_tasks"),
        ({"rho": -0.1}, r"rho is -0\.1"),
        ({"score": "rolout"}, 'unknown score "rolout"; did you mean "rollout"'),
        ({"projection": "sketch"}, 'unknown projection "sketch"'),
        ({"affinity": "complete"}, 'unknown affinity "complete"; did you mean "completed"'),
        ({"num_tasks": 1}, "num_tasks is 1; grouping needs at least two tasks"),
        ({"num_tasks": 500, "subset_size": 4}, "num_envs is 160 for 500 tasks"),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(ValueError, match=message):
        make_config("cartpole", **settings)
