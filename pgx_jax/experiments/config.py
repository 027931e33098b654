"""What a run is: one frozen, checked configuration."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgx_jax.envs.families import check_family, presets_of, unknown_name
from pgx_jax.estimation.designs.usual import AFFINITIES, MOST_ADDITIVE, AffinityKind, plan_subsets
from pgx_jax.estimation.projections.features import PROJECTIONS, ProjectionName
from pgx_jax.estimation.scores.scores import KINDS, Kind
from pgx_jax.rl.algorithms.ppo import PPOConfig


@dataclass(frozen=True)
class RunConfig:
    """Every setting of a run; equal configurations on one machine give equal results.

    Attributes:
        environment: task family, a key of ``FAMILIES``, ``gymnax:NAME`` or ``gymnasium:ID``.
        preset: name of the preset that the rest started from.
        seed: of training, transitions, projection, subsets and evaluation.
        task_seed: of the tasks; the published families have 0.
        backend: what runs the environments; None takes the family's default.
        ranges: what varies in a generic family, such as ("gravity=5:20",).
        task_file: Python file that says so instead.
        warm_start: "experts" starts every policy that is not made from another one by cloning
            the family's scripted experts; "none" starts from random parameters.
        demonstrations: expert episodes a task, for that.
        clone_steps: gradient steps of cloning.
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks.
        hidden_sizes: outputs of all linear layers but the last; three make a 4-layer network.
        ppo: settings of PPO.
        meta_steps: environment steps of meta-training.
        num_steps: T, transitions per task for the features.
        dim: d, projection dimension.
        projection: "gaussian", "tensor_sketch" or "rademacher".
        num_subsets: m; None takes what ``plan_subsets`` does.
        subset_size: tasks in a subset.
        l2: ridge penalty of the fits, for features of unit mean square norm.
        score: policy evaluation algorithm, one of ``KINDS``.
        rho: relative parameter distance |θ_S - θ*| / |θ*| of the adapted policies.
        score_episodes: episodes per subset and member task, for rollout scores.
        affinity: how scores become an affinity, one of ``AFFINITIES``.
        num_groups: k; None chooses it on held-out subsets.
        max_groups: largest k that the automatic choice considers.
        group_steps: environment steps of group training, shared among groups by their tasks.
        eval_episodes: episodes per source task in the final evaluation.
        test_episodes: episodes per held-out task.
        selection_episodes: episodes by which a held-out task picks one of k policies.
    """

    environment: str
    preset: str = "default"
    seed: int = 0
    task_seed: int = 0
    backend: str | None = None
    ranges: tuple[str, ...] = ()
    task_file: str | None = None
    warm_start: str = "none"
    demonstrations: int = 20
    clone_steps: int = 5000
    num_tasks: int = 10
    num_test_tasks: int = 50
    hidden_sizes: tuple[int, ...] = (64, 64, 64)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    meta_steps: int = 256_000
    num_steps: int = 8192
    dim: int = 400
    projection: ProjectionName = "gaussian"
    num_subsets: int | None = 200
    subset_size: int = 4
    l2: float = 1e-2
    score: Kind = "rollout"
    rho: float = 0.1
    score_episodes: int = 16
    affinity: AffinityKind = "additive"
    num_groups: int | None = None
    max_groups: int = 6
    group_steps: int = 1_000_000
    eval_episodes: int = 64
    test_episodes: int = 16
    selection_episodes: int = 4


WARM_STARTS = ("none", "experts")

_COUNTS = (
    "num_tasks",
    "demonstrations",
    "clone_steps",
    "num_test_tasks",
    "meta_steps",
    "num_steps",
    "dim",
    "num_subsets",
    "score_episodes",
    "max_groups",
    "group_steps",
    "eval_episodes",
    "test_episodes",
    "selection_episodes",
)


def make_config(environment: str, preset: str = "default", **overrides: Any) -> RunConfig:
    """The configuration of a preset, with some settings replaced.

    Where another number of tasks is asked for, more than 20, subsets and affinity are those of
    ``plan_subsets`` unless they are asked for too.

    Args:
        environment: a key of ``FAMILIES``, ``gymnax:NAME`` or ``gymnasium:ID``.
        preset: "smoke", "default" or "paper".
        **overrides: fields of ``RunConfig``; None leaves the preset's value.

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
    settings = {"ppo": PPOConfig(**presets[preset].pop("ppo", {})), **presets[preset], **given}
    num_tasks = given.get("num_tasks", 0)
    if num_tasks > MOST_ADDITIVE and num_tasks != presets[preset].get("num_tasks"):
        settings |= _planned(num_tasks, given)
    config = RunConfig(environment, preset, **settings)
    check_config(config)
    return config


def _planned(num_tasks: int, given: dict[str, Any]) -> dict[str, Any]:
    """Subsets and affinity for a number of tasks that no preset was made for."""
    if "num_subsets" in given or "subset_size" in given:
        return {}
    plan = plan_subsets(num_tasks, affinity=given.get("affinity"))
    return {"subset_size": plan.subset_size, "num_subsets": None, "affinity": plan.affinity}


def check_config(config: RunConfig) -> None:
    """Raise ValueError where a setting is outside its range, before any work starts."""
    check_family(
        config.environment,
        backend=config.backend,
        ranges=config.ranges,
        task_file=config.task_file,
    )
    if config.warm_start not in WARM_STARTS:
        raise ValueError(unknown_name("warm_start", config.warm_start, WARM_STARTS))
    for name in _COUNTS:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if config.num_tasks < 2:
        raise ValueError("num_tasks is 1; grouping needs at least two tasks")
    if not 2 <= config.subset_size <= config.num_tasks:
        raise ValueError(
            f"subset_size is {config.subset_size}; it must be between 2 (a subset has to hold a "
            f"pair) and num_tasks = {config.num_tasks}; set subset_size along with num_tasks"
        )
    if config.num_groups is not None and not 1 <= config.num_groups <= config.num_tasks:
        raise ValueError(
            f"num_groups is {config.num_groups}; it must be between 1 and num_tasks = "
            f"{config.num_tasks}"
        )
    _check_numbers(config)
    if config.num_groups is None and math.comb(config.num_tasks, config.subset_size) < 4:
        raise ValueError(
            f"{config.num_tasks} tasks have fewer than four subsets of {config.subset_size}, too "
            "few to choose the number of groups on; give num_groups, or another subset_size"
        )
    if config.score not in KINDS:
        raise ValueError(unknown_name("score", config.score, KINDS))
    if config.projection not in PROJECTIONS:
        raise ValueError(unknown_name("projection", config.projection, PROJECTIONS))
    if config.affinity not in AFFINITIES:
        raise ValueError(unknown_name("affinity", config.affinity, AFFINITIES))
    if config.ppo.num_envs < config.num_tasks:
        raise ValueError(
            f"ppo.num_envs is {config.ppo.num_envs} for {config.num_tasks} tasks; take at least "
            "one environment a task"
        )


def _check_numbers(config: RunConfig) -> None:
    for name in ("l2", "rho"):
        value = getattr(config, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}; it must be positive and finite")
    for name in ("seed", "task_seed"):
        if not 0 <= getattr(config, name) < 2**32:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be from 0 to 2**32 - 1")


def config_fields(config: RunConfig, *names: str) -> dict[str, Any]:
    """Some settings as plain JSON values, for hashes and reports."""
    values = dataclasses.asdict(config)
    return {name: values[name] for name in (names or values)}


def task_fields(config: RunConfig) -> dict[str, Any]:
    """What determines the tasks and their environment, for the hashes of stages."""
    names = ("environment", "task_seed", "num_tasks", "backend", "ranges")
    fields = config_fields(config, *names)
    if config.task_file is not None:
        content = Path(config.task_file).read_bytes()
        fields["task_file"] = hashlib.sha256(content).hexdigest()[:16]
    return fields
