"""One policy per group against its alternatives, at equal total environment steps."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.identity import with_identity
from pgx_jax.experiments.config import network_of
from pgx_jax.experiments.estimate import Estimated
from pgx_jax.experiments.methods import METHODS, Method
from pgx_jax.experiments.settings import RunConfig
from pgx_jax.experiments.slices import (
    EvaluationSlice,
    GroupSlice,
    LearnerSlice,
    learner_slice,
    run_key,
    task_slice,
)
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.training import (
    Evaluated,
    algorithm_of,
    evaluate_policies,
    group_train,
    trained_like,
)
from pgx_jax.grouping import canonical_labels
from pgx_jax.pipeline import stage_key


class Comparison(NamedTuple):
    """What the methods reached and spent.

    Attributes:
        scores: per method: source and test mean, standard error, and the same per task.
        env_steps: per method: steps by purpose, and their total.
        selection_steps: per method: steps by which held-out tasks chose among k policies, after
            training and on top of the total.
        labels: per method, int[n].
        num_params: per method, parameters of all its policies together.
    """

    scores: dict[str, Any]
    env_steps: dict[str, dict[str, int]]
    selection_steps: dict[str, int]
    labels: dict[str, list[int]]
    num_params: dict[str, int]


def compare_methods(
    runner: StageRunner, family: TaskFamily, config: RunConfig, estimated: Estimated
) -> Comparison:
    """Train and evaluate every method.

    The budget is what PolicyGradEx takes in all: meta-training, transitions, rollout scores and
    group training. Whatever a method does not spend on estimation it spends on training. Steps
    are whole updates, so totals agree to within one update per policy.

    Args:
        runner: holds the finished stages of ``estimate_groups``.
        family: the tasks.
        config: the settings.
        estimated: what ``estimate_groups`` found.

    Returns:
        The comparison.
    """
    done = runner.finished
    spent = {name: done[name].env_steps for name in ("meta", "transitions", "scores")}
    budget = sum(spent.values()) + config.comparison.group_steps
    result = Comparison({}, {}, {}, {}, {})
    for method in map(METHODS.find, config.comparison.methods):
        name = method.name
        labels = canonical_labels(method.labels(estimated.evidence))
        paid = {"meta": spent["meta"]} if method.from_meta else {}
        paid |= {stage: spent[stage] for stage in method.pays_for}
        entrant = _Entrant.of(method, family, config, estimated.evidence.num_groups)
        left = budget - sum(paid.values())
        evaluated = _train_and_evaluate(runner, entrant, config, estimated, labels, left)
        paid["training"] = done[f"train/{name}"].env_steps
        result.env_steps[name] = {**paid, "total": sum(paid.values())}
        result.selection_steps[name] = done[f"evaluate/{name}"].env_steps
        result.scores[name] = summarise(evaluated, labels, entrant.family)
        result.labels[name] = [int(label) for label in labels]
        algorithm = algorithm_of(entrant.learner, entrant.family)
        result.num_params[name] = sum(
            int(np.size(leaf))
            for group in done[f"train/{name}"].value.values()
            for leaf in jax.tree.leaves(algorithm.policy_params(group.agent))
        )
    return result


class _Entrant(NamedTuple):
    """A method with its tasks and its learner."""

    method: Method
    family: TaskFamily
    learner: LearnerSlice

    @classmethod
    def of(
        cls, method: Method, family: TaskFamily, config: RunConfig, num_groups: int
    ) -> "_Entrant":
        if method.identity is not None:
            family = with_identity(family, method.identity)
        run = learner_slice(config)
        network = method.network(network_of(config.training), family, num_groups)
        learner = run._replace(network=network, algorithm=method.algorithm(run.algorithm))
        return cls(method, family, learner)


def _train_and_evaluate(
    runner: StageRunner,
    entrant: _Entrant,
    config: RunConfig,
    estimated: Estimated,
    labels: np.ndarray,
    env_steps: int,
) -> Evaluated:
    method, family, learner = entrant
    key = run_key(config)
    groups = tuple(int(label) for label in labels)
    num_groups = len(set(groups))
    algorithm = algorithm_of(learner, family)
    trained = runner(
        f"train/{method.name}",
        GroupSlice(
            task_slice(config, method.identity),
            learner,
            groups,
            env_steps,
            stage_key(key, f"train/{method.name}"),
        ),
        {"meta": estimated.meta} if method.from_meta else estimated.demonstrations,
        partial(group_train, family, runner.advance),
        dict.fromkeys(map("group{}".format, range(num_groups)), trained_like(algorithm)),
    )
    settings = config.comparison.evaluation
    if num_groups == 1:
        settings = settings.without_selection()
    return runner(
        f"evaluate/{method.name}",
        EvaluationSlice(settings, learner, key),
        {f"train/{method.name}": trained},
        partial(evaluate_policies, family, runner.advance),
        Evaluated,
    )


def summarise(result: Evaluated, labels: np.ndarray, family: TaskFamily) -> dict[str, Any]:
    """Mean and standard error of a method, over its source tasks and the held-out ones.

    Source tasks are fixed, so that the standard error of their mean comes from episodes alone.
    Held-out tasks are a sample, so that it comes from the tasks.

    Args:
        result: what the method's policies reached.
        labels: int[n], the policy of each source task.
        family: for the names.

    Returns:
        {"source": {"mean", "standard_error", "tasks": {name: {"mean", "standard_error"}}},
        "test": the same without names}.
    """
    own = result.source[labels, np.arange(len(labels))]
    mean, error = own.mean(axis=1), _standard_error(own)
    test_mean = result.test.mean(axis=1)
    tasks = {
        name: {"mean": float(m), "standard_error": float(e)}
        for name, m, e in zip(family.train_names, mean, error, strict=True)
    }
    source = {
        "mean": float(mean.mean()),
        "standard_error": float(np.sqrt((error**2).sum()) / len(mean)),
        "tasks": tasks,
    }
    test = {
        "mean": float(test_mean.mean()),
        "standard_error": float(_standard_error(test_mean[None])[0]),
        "tasks": [float(value) for value in test_mean],
    }
    return {"source": source, "test": test}


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the last axis; 0 for a single value."""
    count = values.shape[-1]
    return values.std(axis=-1, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(len(values))
