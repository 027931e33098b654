"""One policy per group against its alternatives, at equal total environment steps."""

from typing import Any, NamedTuple

import jax
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.config import RunConfig, config_fields, task_fields
from pgx_jax.experiments.estimate import updates_for
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.stages import Outcome, StageRunner
from pgx_jax.experiments.start import prepare_start
from pgx_jax.experiments.training import (
    agent_tree,
    evaluate_policies,
    make_ppo,
    matched_hidden_sizes,
    stage_key,
    train,
    tree_agent,
)
from pgx_jax.grouping import gradient_similarity_grouping, random_grouping


class Method(NamedTuple):
    """A way of sharing policies among the tasks.

    Attributes:
        name: in files and reports.
        title: for a reader.
        from_meta: start from θ* (whose training then counts) rather than afresh.
        estimation: stages whose environment steps it pays for besides.
    """

    name: str
    title: str
    from_meta: bool = True
    estimation: tuple[str, ...] = ()


METHODS = (
    Method("policygradex", "PolicyGradEx groups", estimation=("transitions", "scores")),
    Method("single_policy", "One policy for all tasks"),
    Method("parameter_matched_policy", "One policy, k times the parameters", from_meta=False),
    Method("random_grouping", "Random groups"),
    Method(
        "gradient_similarity_grouping", "Gradient-similarity groups", estimation=("transitions",)
    ),
)


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


def compare_methods(runner: StageRunner, family: TaskFamily, config: RunConfig) -> Comparison:
    """Train and evaluate every method.

    The budget is what PolicyGradEx takes in all: meta-training, transitions, rollout scores and
    group training. Whatever a method does not spend on estimation it spends on training. Steps
    are whole PPO updates, so totals agree to within one update per policy.

    Args:
        runner: holds the finished stages of ``estimate_groups``.
        family: the tasks.
        config: the settings.

    Returns:
        The comparison.
    """
    done = runner.finished
    grouping = done["grouping"]
    num_groups = int(grouping.facts["num_groups"])
    spent = {name: done[name].env_steps for name in ("meta", "transitions", "scores")}
    budget = sum(spent.values()) + config.group_steps
    ours = grouping.tree["labels"]
    scores, env_steps, selection_steps, labels, num_params = {}, {}, {}, {}, {}
    for method in METHODS:
        labels[method.name] = _labels(runner, method, family, config, num_groups, ours)
        sizes = config.hidden_sizes
        if method.name == "parameter_matched_policy":
            sizes = matched_hidden_sizes(family, sizes, num_groups)
        paid = {"meta": spent["meta"]} if method.from_meta else {}
        paid |= {name: spent[name] for name in method.estimation}
        trained = _train_method(
            runner, method, family, config, labels[method.name], sizes, budget - sum(paid.values())
        )
        paid["training"] = runner.finished[f"train/{method.name}"].env_steps
        result = _evaluate_method(runner, method, family, config, sizes, trained)
        env_steps[method.name] = {**paid, "total": sum(paid.values())}
        selection_steps[method.name] = runner.finished[f"evaluate/{method.name}"].env_steps
        scores[method.name] = summarise(result, labels[method.name], family)
        num_params[method.name] = sum(
            int(np.size(leaf)) for agent in trained for leaf in jax.tree.leaves(agent["policy"])
        )
    plain = {name: [int(label) for label in value] for name, value in labels.items()}
    return Comparison(scores, env_steps, selection_steps, plain, num_params)


def _labels(
    runner: StageRunner,
    method: Method,
    family: TaskFamily,
    config: RunConfig,
    num_groups: int,
    ours: np.ndarray,
) -> np.ndarray:
    if method.name == "policygradex":
        return ours
    if method.name == "random_grouping":
        return random_grouping(config.seed, family.num_tasks, num_groups)
    if method.name == "gradient_similarity_grouping":
        transitions = runner.finished["transitions"].tree
        return gradient_similarity_grouping(
            runner.finished["features"].tree["features"],
            num_groups,
            advantage=_standardised(transitions),
            mask=transitions["mask"],
            seed=config.seed,
        ).labels
    return np.zeros(family.num_tasks, int)


def _standardised(transitions: dict[str, Any]) -> np.ndarray:
    from pgx_jax.estimation import standardise_advantage

    advantage = standardise_advantage(transitions["advantage"], transitions["mask"])
    return np.asarray(advantage)


def _train_method(
    runner: StageRunner,
    method: Method,
    family: TaskFamily,
    config: RunConfig,
    labels: np.ndarray,
    hidden_sizes: tuple[int, ...],
    env_steps: int,
) -> list[dict[str, Any]]:
    """Agents of the k groups, as trees."""
    num_groups = int(labels.max()) + 1
    ppo = make_ppo(family, config, hidden_sizes)
    start = prepare_start(runner, family, config)

    def compute(advance: Advance) -> Outcome:
        tree: dict[str, Any] = {}
        total = 0
        for group in range(num_groups):
            members = np.flatnonzero(labels == group)
            key = jax.random.fold_in(stage_key(config, f"train/{method.name}"), group)
            if method.from_meta:
                agent = tree_agent(runner.finished["meta"].tree["agent"])
            else:
                key, agent_key = jax.random.split(key)
                agent = start.agent(ppo, agent_key)

            def inner(share: float, note: str, group: int = group) -> None:
                advance((group + share) / num_groups, f"group {group + 1}/{num_groups} {note}")

            count = updates_for(config, env_steps * len(members) / len(labels))
            result = train(ppo, agent, family, members, count, key, inner)
            total += int(result.env_steps[-1])
            tree[f"group{group}"] = {
                "agent": agent_tree(result.agent),
                "env_steps": result.env_steps,
                "returns": result.returns,
            }
        return Outcome(tree, total)

    settings = {
        **task_fields(config),
        **config_fields(config, "seed", "ppo", "warm_start"),
        "labels": labels.tolist(),
        "hidden_sizes": hidden_sizes,
        "env_steps": env_steps,
    }
    parents = ["meta"] if method.from_meta else start.parents
    tree = runner.run(f"train/{method.name}", settings, parents, compute).tree
    return [tree[f"group{group}"]["agent"] for group in range(num_groups)]


def _evaluate_method(
    runner: StageRunner,
    method: Method,
    family: TaskFamily,
    config: RunConfig,
    hidden_sizes: tuple[int, ...],
    trained: list[dict[str, Any]],
) -> dict[str, np.ndarray]:
    ppo = make_ppo(family, config, hidden_sizes)

    def compute(advance: Advance) -> Outcome:
        policies = [tree_agent(agent).policy for agent in trained]
        result = evaluate_policies(ppo, policies, family, config, advance)
        tree = {"source": result.source, "test": result.test, "chosen": result.chosen}
        return Outcome(tree, result.selection_steps)

    names = ["seed", "num_test_tasks", "eval_episodes", "test_episodes"]
    if len(trained) > 1:
        names.append("selection_episodes")
    settings = config_fields(config, *names)
    parents = [f"train/{method.name}"]
    return runner.run(f"evaluate/{method.name}", settings, parents, compute).tree


def summarise(
    result: dict[str, np.ndarray], labels: np.ndarray, family: TaskFamily
) -> dict[str, Any]:
    """Mean and standard error of a method, over its source tasks and the held-out ones.

    Source tasks are fixed, so that the standard error of their mean comes from episodes alone.
    Held-out tasks are a sample, so that it comes from the tasks.

    Args:
        result: ``source`` float[k, n, episodes] and ``test`` float[tasks, episodes].
        labels: int[n], the policy of each source task.
        family: for the names.

    Returns:
        {"source": {"mean", "standard_error", "tasks": {name: {"mean", "standard_error"}}},
        "test": the same without names}.
    """
    own = result["source"][labels, np.arange(len(labels))]
    mean, error = own.mean(axis=1), _standard_error(own)
    test_mean = result["test"].mean(axis=1)
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
