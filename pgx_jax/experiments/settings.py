"""What a run is: one frozen record of small frozen records.

Names of settings are unique over all records, so that the command line, the presets and
``report.json`` can name them without saying where they are (``flat``, ``replace``). Like
``pgx_jax.settings`` this file needs no JAX.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgx_jax.settings import EstimationSettings, GroupingSettings


@dataclass(frozen=True)
class TaskSettings:
    """The source tasks and the environment that they share."""

    environment: str
    """Task family; `pgx-jax list` names them."""
    num_tasks: int = 10
    """Source tasks n."""
    task_seed: int = 0
    """Of the tasks; 0 gives the published ones."""
    backend: str | None = None
    """What runs the environments, where there is a choice; `pgx-jax list` names them."""
    ranges: tuple[str, ...] = ()
    """NAME=LOW:HIGH[:log|:int], NAME=A,B,C or NAME=VALUE: what varies between the tasks of
    gymnax:NAME (its parameters) or gymnasium:ID (its keyword arguments); once per parameter."""
    task_file: str | None = None
    """Python file that defines `ranges`, or a function `tasks(seed, num_tasks)`, instead."""
    identity: Any = None
    """What a policy is told of its task: hidden, or one_hot; the family's own where not given."""


@dataclass(frozen=True)
class StartSettings:
    """Where policies start that are not made from another one."""

    warm_start: str = "none"
    """none, or experts: clone Meta-World's scripted experts before meta-training."""
    demonstrations: int = 20
    """Expert episodes a task, for a warm start."""
    clone_steps: int = 5000
    """Gradient steps of cloning, for a warm start."""


@dataclass(frozen=True)
class TrainingSettings:
    """How policies are trained."""

    network: Any = "mlp"
    """Network of policy and critic, a registered name."""
    hidden_sizes: tuple[int, ...] = (64, 64, 64)
    """Widths of the network's hidden layers, where it has some."""
    algorithm: Any = "ppo"
    """Training algorithm, a registered name."""
    meta_steps: int = 256_000
    """Environment steps of meta-training."""
    start: StartSettings = field(default_factory=StartSettings)


@dataclass(frozen=True)
class SamplingSettings:
    """What the estimate takes from the environment."""

    num_steps: int = 8192
    """Transitions T per task that the features are made from."""
    score_episodes: int = 16
    """Episodes per subset and member task, for rollout scores."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How policies are judged in the end."""

    num_test_tasks: int = 50
    """Held-out tasks."""
    eval_episodes: int = 64
    """Episodes per source task in the final evaluation."""
    test_episodes: int = 16
    """Episodes per held-out task in the final evaluation."""
    selection_episodes: int = 4
    """Episodes by which a held-out task picks one of k policies."""

    def without_selection(self) -> "EvaluationSettings":
        """The same where one policy leaves nothing to pick."""
        return dataclasses.replace(self, selection_episodes=0)


@dataclass(frozen=True)
class ComparisonSettings:
    """What groups are compared with."""

    methods: tuple[Any, ...] = (
        "policygradex",
        "single_policy",
        "parameter_matched_policy",
        "random_grouping",
        "gradient_similarity_grouping",
    )
    """Compared method, a registered name; once per method, all of the paper's where not given."""
    group_steps: int = 1_000_000
    """Environment steps of group training, all groups together."""
    diagnostics: tuple[Any, ...] = ()
    """Diagnostic for the report, a registered name; once per diagnostic."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)


@dataclass(frozen=True)
class RunConfig:
    """Every setting of a run; equal configurations on one machine give equal results.

    Attributes:
        tasks: the source tasks.
        training: how policies are trained.
        sampling: what the estimate takes from the environment.
        estimation: from transitions to groups.
        comparison: what groups are compared with.
        preset: name of the preset that the rest started from.
        seed: of training, transitions, projection, subsets and evaluation.
    """

    tasks: TaskSettings
    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    estimation: EstimationSettings = field(
        default_factory=lambda: EstimationSettings(grouping=GroupingSettings(max_groups=6))
    )
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    preset: str = "default"
    seed: int = 0

    def replace(self, **values: Any) -> "RunConfig":
        """The configuration with some settings replaced, wherever they are.

        Args:
            **values: settings by name.

        Returns:
            A new configuration, not checked.

        Raises:
            ValueError: an unknown name.
        """
        unknown = sorted(set(values) - set(setting_names(type(self))))
        if unknown:
            raise ValueError(f"unknown settings {', '.join(unknown)}")
        return _replaced(self, values)


def records_of(kind: type) -> dict[str, type]:
    """The fields of a record that are records themselves, with their types."""
    return {
        one.name: one.type
        for one in dataclasses.fields(kind)
        if isinstance(one.type, type) and dataclasses.is_dataclass(one.type)
    }


def setting_names(kind: type) -> Iterator[str]:
    """Names of all settings in a record and the records within it."""
    inner = records_of(kind)
    for one in dataclasses.fields(kind):
        if one.name in inner:
            yield from setting_names(inner[one.name])
        else:
            yield one.name


def flat_settings(record: Any) -> dict[str, Any]:
    """All settings by name, from a record and the records within it; choices stay objects."""
    inner = records_of(type(record))
    values: dict[str, Any] = {}
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        values |= flat_settings(value) if one.name in inner else {one.name: value}
    return values


def _replaced(record: Any, values: Mapping[str, Any]) -> Any:
    inner = records_of(type(record))
    return dataclasses.replace(
        record,
        **{
            one.name: _replaced(getattr(record, one.name), values)
            if one.name in inner
            else values.get(one.name, getattr(record, one.name))
            for one in dataclasses.fields(record)
        },
    )
