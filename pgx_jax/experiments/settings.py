"""What a run is: one frozen record of small frozen records.

Names of settings are unique over all records, so that the command line, the presets and
``report.json`` can name them without saying where they are (``leaves.py``). Like
``pgx_jax.settings`` this file needs no JAX.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pgx_jax.experiments.leaves import replace_leaves
from pgx_jax.settings import EstimationSettings, GroupingSettings

PAPER_METHODS = (
    *("policygradex", "single_policy", "parameter_matched_policy", "random_grouping"),
    "gradient_similarity_grouping",
)


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
    ranges: tuple[str, ...] = field(default=(), metadata={"option": "range"})
    """NAME=LOW:HIGH[:log|:int], NAME=A,B,C or NAME=VALUE: what varies between the tasks of
    gymnax:NAME (its parameters) or gymnasium:ID (its keyword arguments); once per parameter."""
    task_file: str | None = None
    """Python file that defines `ranges`, or a function `tasks(seed, num_tasks)`, instead."""
    identity: str | Any = None
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

    network: str | Any = "mlp"
    """Network of policy and critic, a registered name."""
    hidden_sizes: tuple[int, ...] = (64, 64, 64)
    """Widths of the network's hidden layers, where it has some."""
    algorithm: str | Any = "ppo"
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

    methods: tuple[str, ...] = field(default=PAPER_METHODS, metadata={"option": "method"})
    """Compared method, a registered name; once per method, all of the paper's where not given."""
    group_steps: int = 1_000_000
    """Environment steps of group training, all groups together."""
    diagnostics: tuple[str, ...] = field(default=(), metadata={"option": "diagnostic"})
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
    """

    tasks: TaskSettings
    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    estimation: EstimationSettings = field(
        default_factory=lambda: EstimationSettings(grouping=GroupingSettings(max_groups=6))
    )
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    preset: str = "default"
    """smoke (under 4 minutes), default (up to an hour), or paper (2048 transitions a task)."""
    seed: int = 0
    """Of training, projection, subsets and evaluation; equal seeds give equal results."""

    def replace(self, **values: Any) -> "RunConfig":
        """The configuration with some settings replaced, wherever they are; not checked.

        Raises:
            ValueError: an unknown name (the nearest one is suggested).
        """
        return replace_leaves(self, values)
