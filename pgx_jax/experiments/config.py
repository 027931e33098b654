"""Presets, overrides and checks: from names to one checked configuration."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, cast

from pgx_jax.envs.families import check_family, presets_of
from pgx_jax.estimation.affinity.rules import AFFINITY_RULES, usual_affinity_rule
from pgx_jax.estimation.designs.usual import usual_design
from pgx_jax.estimation.projections.base import PROJECTIONS
from pgx_jax.estimation.scores.base import SCORES
from pgx_jax.experiments.diagnostics import DIAGNOSTICS
from pgx_jax.experiments.leaves import leaf_values, leaves
from pgx_jax.experiments.methods import METHODS
from pgx_jax.experiments.settings import (
    RunConfig,
    TaskSettings,
    TrainingSettings,
)
from pgx_jax.grouping.objectives import OBJECTIVES
from pgx_jax.networks import NETWORKS, Network
from pgx_jax.pipeline import check_automatic
from pgx_jax.registry import Registry, unknown_name
from pgx_jax.rl.algorithms import ALGORITHMS
from pgx_jax.settings import EstimationSettings

WARM_STARTS = ("none", "experts")

# Beyond this number of tasks another number of them asks for other subsets, too.
MOST_LIKE_PRESETS = 20
_DESIGN = ("num_subsets", "subset_size", "affinity")
_COUNTS = (
    *("num_tasks", "demonstrations", "clone_steps", "num_test_tasks", "meta_steps", "num_steps"),
    *("dim", "num_subsets", "score_episodes", "max_groups", "group_steps", "eval_episodes"),
    *("test_episodes", "selection_episodes"),
)


def make_config(environment: str, preset: str = "default", **overrides: Any) -> RunConfig:
    """The configuration of a preset, with some settings replaced.

    Where more than 20 tasks are asked for, and not as many as the preset has, subsets and
    affinity are those that suit the number, unless they are asked for too.

    Args:
        environment: a key of ``FAMILIES``, ``gymnax:NAME`` or ``gymnasium:ID``.
        preset: "smoke", "default" or "paper".
        **overrides: settings by name; None leaves the preset's value. ``ppo`` gives settings of
            PPO, as ``PPOConfig`` or by name.

    Returns:
        A checked configuration.

    Raises:
        ValueError: an unknown environment or preset (the nearest name is suggested), or a
            setting outside its range.
    """
    presets = presets_of(environment)
    if preset not in presets:
        raise ValueError(unknown_name("preset", preset, presets))
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - {*leaves(RunConfig), "ppo"})
    if unknown:
        raise ValueError(unknown_name("setting", unknown[0], leaves(RunConfig)))
    chosen = dict(presets[preset])
    num_tasks = given.get("num_tasks", 0)
    if num_tasks > MOST_LIKE_PRESETS and num_tasks != chosen.get("num_tasks"):
        chosen = {name: value for name, value in chosen.items() if name not in _DESIGN}
    settings = {**chosen, **given}
    settings["algorithm"] = _algorithm(settings.get("algorithm", "ppo"), settings.pop("ppo", {}))
    config = RunConfig(TaskSettings(environment), preset=preset).replace(**settings)
    check_config(config)
    return config


def _algorithm(choice: Any, ppo: Any) -> Any:
    """Settings of the algorithm; those of PPO in a preset are for PPO."""
    settings = ALGORITHMS.find(choice)
    if ALGORITHMS.name_of(settings) != "ppo" or not isinstance(choice, str):
        return settings
    return dataclasses.replace(cast(Any, settings), **ppo) if isinstance(ppo, Mapping) else ppo


def check_config(config: RunConfig) -> None:
    """Raise ValueError where a setting is outside its range, before any work starts."""
    tasks = config.tasks
    check_family(
        tasks.environment,
        backend=tasks.backend,
        ranges=tasks.ranges,
        task_file=tasks.task_file,
        identity=tasks.identity,
    )
    warm_start = config.training.start.warm_start
    if warm_start not in WARM_STARTS:
        raise ValueError(unknown_name("warm_start", warm_start, WARM_STARTS))
    values = leaf_values(config)
    for name in _COUNTS:
        if values[name] is not None and values[name] < 1:
            raise ValueError(f"{name} is {values[name]}; it must be at least 1")
    if tasks.num_tasks < 2:
        raise ValueError("num_tasks is 1; grouping needs at least two tasks")
    _check_numbers(values)
    _check_choices(config)
    _check_grouping(config.estimation, tasks.num_tasks)
    num_envs = ALGORITHMS.find(config.training.algorithm).num_envs
    if num_envs < tasks.num_tasks:
        name = ALGORITHMS.name_of(config.training.algorithm)
        raise ValueError(
            f"{name}.num_envs is {num_envs} for {tasks.num_tasks} tasks; take at least "
            "one environment a task"
        )


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name in ("l2", "rho"):
        value = values[name]
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}; it must be positive and finite")
    for name in ("seed", "task_seed"):
        if not 0 <= values[name] < 2**32:
            raise ValueError(f"{name} is {values[name]}; it must be from 0 to 2**32 - 1")


def _check_choices(config: RunConfig) -> None:
    """Raise where a name stands for nothing; the nearest one is suggested."""
    estimation, comparison = config.estimation, config.comparison
    chosen: list[tuple[Registry, Any]] = [
        (SCORES, estimation.score.score),
        (PROJECTIONS, estimation.projection.projection),
        (AFFINITY_RULES, estimation.affinity.affinity or "additive"),
        (OBJECTIVES, estimation.grouping.objective),
        (NETWORKS, config.training.network),
        (ALGORITHMS, config.training.algorithm),
        *((METHODS, method) for method in comparison.methods),
        *((DIAGNOSTICS, diagnostic) for diagnostic in comparison.diagnostics),
    ]
    for registry, choice in chosen:
        registry.find(choice)
    for method in map(METHODS.find, comparison.methods):
        if method.identity is not None and (
            method.from_meta or config.training.start.warm_start != "none"
        ):
            raise ValueError(
                f'the method "{method.name}" tells policies of their task otherwise than the run, '
                "so that it starts afresh: set from_meta=False, and leave --warm-start out"
            )
    try:
        json.dumps(config_values(config))
    except TypeError as error:
        raise ValueError(f"a setting has no place in a report: {error}") from error


def _check_grouping(estimation: EstimationSettings, num_tasks: int) -> None:
    asked = estimation.design
    if asked.subset_size is not None and not 2 <= asked.subset_size <= num_tasks:
        raise ValueError(
            f"subset_size is {asked.subset_size}; it must be between 2 (a subset has to hold a "
            f"pair) and num_tasks = {num_tasks}; set subset_size along with num_tasks"
        )
    num_groups = estimation.grouping.num_groups
    if num_groups is not None and not 1 <= num_groups <= num_tasks:
        raise ValueError(
            f"num_groups is {num_groups}; it must be between 1 and num_tasks = {num_tasks}"
        )
    if num_groups is None:
        design = usual_design(
            num_tasks, subset_size=asked.subset_size, num_subsets=asked.num_subsets
        )
        check_automatic(num_tasks, design.subset_size)


def network_of(training: TrainingSettings) -> Network:
    """The network that the settings name, its hidden layers of the widths that they say."""
    network: Any = NETWORKS.find(training.network)
    named = isinstance(training.network, str)
    if named and any(one.name == "hidden_sizes" for one in dataclasses.fields(network)):
        return dataclasses.replace(network, hidden_sizes=training.hidden_sizes)
    return network


def config_values(config: RunConfig) -> dict[str, Any]:
    """All settings by name as plain JSON values, for reports."""
    values = leaf_values(config)
    algorithm = ALGORITHMS.find(values["algorithm"])
    name = ALGORITHMS.name_of(algorithm)
    values["algorithm"], values[name] = name, dataclasses.asdict(cast(Any, algorithm))
    values["hidden_sizes"] = getattr(network_of(config.training), "hidden_sizes", None)
    values["affinity"] = values["affinity"] or usual_affinity_rule(values["num_tasks"])
    for setting, registry in (
        ("network", NETWORKS),
        ("score", SCORES),
        ("projection", PROJECTIONS),
        ("affinity", AFFINITY_RULES),
        ("objective", OBJECTIVES),
    ):
        values[setting] = registry.name_of(values[setting])
    for setting, registry in (("methods", METHODS), ("diagnostics", DIAGNOSTICS)):
        values[setting] = [registry.name_of(choice) for choice in values[setting]]
    identity = values["identity"]
    values["identity"] = identity if isinstance(identity, str | None) else "embedding"
    return values
