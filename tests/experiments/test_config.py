import pytest

from pgx_jax.envs.families import FAMILIES, presets_of
from pgx_jax.experiments.config import config_values, make_config
from pgx_jax.experiments.leaves import leaf_values, leaves
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.rl.algorithms import PPOConfig


@pytest.mark.parametrize("environment", FAMILIES)
@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_every_environment_has_every_preset(environment, preset):
    config = make_config(environment, preset)
    assert (config.tasks.environment, config.preset) == (environment, preset)


def test_presets_only_name_fields():
    known = {*leaves(RunConfig), "ppo"}
    for environment in FAMILIES:
        for settings in presets_of(environment).values():
            assert set(settings) <= known


def test_transitions_per_task_are_the_papers_and_ours():
    assert make_config("cartpole", "paper").sampling.num_steps == 2048
    assert make_config("cartpole").sampling.num_steps == 8192
    assert make_config("cartpole").estimation.projection.dim == 400


def test_none_leaves_the_presets_value():
    assert make_config("cartpole", dim=None) == make_config("cartpole")
    assert make_config("cartpole", dim=7).estimation.projection.dim == 7


def design_of(config):
    """Size and number of the subsets, and the affinity, as asked for."""
    values = leaf_values(config)
    return tuple(values[name] for name in ("subset_size", "num_subsets", "affinity"))


def test_subsets_that_are_not_asked_for_suit_the_number_of_tasks():
    assert design_of(make_config("cartpole")) == (None, None, None)
    assert design_of(make_config("cartpole", num_tasks=60)) == (None, None, None)
    asked = make_config("cartpole", num_tasks=60, affinity="pair")
    assert design_of(asked) == (None, None, "pair")
    asked = make_config("cartpole", num_tasks=60, num_subsets=900)
    assert design_of(asked) == (None, 900, None)


def test_another_number_of_tasks_drops_the_presets_subsets():
    preset = make_config("metaworld-mt50")
    assert design_of(preset) == (8, 150, "completed")
    assert make_config("metaworld-mt50", num_tasks=50) == preset
    assert design_of(make_config("metaworld-mt50", num_tasks=40)) == (None, None, None)
    # A small number of tasks keeps what a preset says.
    assert design_of(make_config("cartpole", "smoke", num_tasks=20))[1] == 40


@pytest.mark.parametrize(("num_tasks", "affinity"), [(20, "additive"), (21, "completed")])
def test_reports_name_the_affinity_that_suits_the_number_of_tasks(num_tasks, affinity):
    assert config_values(make_config("cartpole", num_tasks=num_tasks))["affinity"] == affinity


def test_settings_of_ppo_are_given_by_name_or_whole():
    config = make_config("cartpole", ppo={"num_envs": 64})
    assert config.training.algorithm == PPOConfig(num_envs=64)
    assert make_config("cartpole", ppo=PPOConfig(num_envs=64)) == config
    assert make_config("cartpole", algorithm=PPOConfig(num_envs=64)) == config


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(ValueError, match=r'unknown setting "num_subset"; did you mean "num_sub'):
        make_config("cartpole", num_subset=3)


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
        ({"num_tasks": 3}, "too few to choose the number of groups on; give num_groups"),
        (
            {"num_tasks": 3, "subset_size": 4},
            "subset_size is 4; .*set subset_size along with num_tasks",
        ),
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
