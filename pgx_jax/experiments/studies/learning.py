"""Does the algorithm learn each environment with the default preset's settings?"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.diagnostics import mean_interval
from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.families import make_family
from pgx_jax.envs.identity import with_identity
from pgx_jax.envs.metaworld.presets import METAWORLD_FROM_SCRATCH
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.initial import Demonstrations, check_experts, initial_agent
from pgx_jax.experiments.progress import Advance, Progress
from pgx_jax.experiments.slices import (
    LearnerSlice,
    TaskSlice,
    learner_slice,
    run_key,
    task_slice,
)
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.experiments.studies.base import STUDIES, Row, Study, Trial
from pgx_jax.experiments.training import algorithm_of, updates_for
from pgx_jax.pipeline import Outcome
from pgx_jax.rl.algorithms import Algorithm
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.training import train


def _lunarlander() -> TaskFamily:
    from pgx_jax.envs.lunarlander import lunarlander_family

    return lunarlander_family("lunarlander, unmodified", [{}], [{}])


def _highway() -> TaskFamily:
    from pgx_jax.envs.highway import highway_family

    return highway_family("highway-fast-v0, unmodified", [{}], [{}])


def _metaworld(name: str) -> TaskFamily:
    from pgx_jax.envs.metaworld.families import metaworld_family

    return metaworld_family(name, [name], 1, 1)


def _halfcheetah() -> TaskFamily:
    family = make_family("brax-halfcheetah", num_tasks=1, num_test_tasks=1)
    task = jax.tree.map(lambda leaf: leaf[None], family.environment.default_task)
    return family._replace(train_tasks=task, train_names=("brax's own",))


class Target(NamedTuple):
    """What to train on, for how long, and what counts as learnt.

    Attributes:
        family: makes the tasks; None takes the environment's own.
        env_steps: of training.
        least: mean of the family's metric over tasks.
        limits: largest mean of other values, by name.
        episodes: of the evaluation, a task.
    """

    family: Callable[[], TaskFamily] | None
    env_steps: int
    least: float
    limits: Mapping[str, float] = MappingProxyType({})
    episodes: int = 64


TARGETS = {
    "lunarlander": Target(_lunarlander, 1_000_000, 200.0),
    # 80 % of 30, the most that an episode can return.
    "highway": Target(_highway, 2_000_000, 24.0, {"crashed": 0.15}, 256),
    "metaworld-reach": Target(partial(_metaworld, "reach-v3"), 200_000, 0.9, episodes=50),
    "metaworld-drawer-close": Target(
        partial(_metaworld, "drawer-close-v3"), 200_000, 0.9, episodes=50
    ),
    "metaworld-window-open": Target(
        partial(_metaworld, "window-open-v3"), 600_000, 0.9, episodes=50
    ),
    "brax-halfcheetah": Target(_halfcheetah, 600_000, 1000.0, episodes=16),
    "metaworld-mt10": Target(None, 500_000, 0.8, episodes=20),
}
_SCRATCH = {"environment": "metaworld-mt10", "ppo": METAWORLD_FROM_SCRATCH, "warm_start": "none"}


class _Attempt(NamedTuple):
    """What the stage of a case may read."""

    tasks: TaskSlice
    learner: LearnerSlice
    family: Callable[[], TaskFamily] | None
    env_steps: int
    episodes: int
    key: Array


def _learn(study: Study, trial: Trial, progress: Progress) -> Row:
    """Train once on the case's tasks and evaluate with the most probable actions."""
    del study
    target, config = TARGETS[trial.case], make_config(**trial.settings, seed=trial.seed)
    check_output_folder(trial.folder)
    runner, name = StageRunner(trial.folder, progress), f"learn/{trial.case}"
    attempt = _Attempt(
        task_slice(config),
        learner_slice(config),
        target.family,
        target.env_steps,
        target.episodes,
        run_key(config),
    )
    runner(name, attempt, {}, partial(_train_and_test, runner.advance))
    stage = runner.finished[name]
    spent = {"env_steps": stage.env_steps, "wall_seconds": stage.about["wall_seconds"]}
    return {**stage.facts, **spent}


def _train_and_test(advance: Advance, given: _Attempt) -> Outcome:
    """The stage: the metric float[updates, n] while training; facts: the rest of the row."""
    tasks, learner = given.tasks.settings, given.learner
    family = make_family(tasks.environment) if given.family is None else given.family()
    told = family.default_identity if tasks.identity is None else tasks.identity
    family = with_identity(family, told)
    algorithm = algorithm_of(learner, family)
    agent_key, clone_key, train_key, test_key = jax.random.split(given.key, 4)
    test = partial(_test, given.episodes, family, algorithm, test_key)
    facts: Row = {"metric": family.metric, "notes": list(family.notes)}
    shown, shown_steps, clone_steps = None, 0, 0
    try:
        if learner.start is not None:
            check_experts(family, learner.start)
            assert family.experts is not None
            found = family.experts(family, clone_key, num_episodes=learner.start.demonstrations)
            shown = Demonstrations(found.observation, found.action)
            clone_steps = learner.start.clone_steps
            shown_steps = int(np.prod(np.shape(found.action)[:-1]))
            facts["experts"] = float(np.mean(found.success))
        agent = initial_agent(algorithm, clone_steps, shown, agent_key)
        if shown is not None:
            facts["cloned"] = test(agent)
        trained = train(
            algorithm,
            agent,
            family.train_tasks,
            np.arange(family.num_tasks),
            updates_for(algorithm, given.env_steps),
            train_key,
            lambda share, _: advance(share, ""),
        )
        facts["final"] = test(trained.agent)
    finally:
        if family.close is not None:
            family.close()
    metric = trained.metrics[family.metric]
    facts["curve"] = _curve(trained.env_steps, metric, max(1, len(metric) // 40))
    return Outcome(metric, int(trained.env_steps[-1]) + shown_steps, facts)


def _test(episodes: int, family: TaskFamily, algorithm: Algorithm, key: Array, agent: Any) -> Row:
    result = evaluate(
        algorithm.environment,
        algorithm.policy,
        algorithm.policy_params(agent),
        family.train_tasks,
        jnp.arange(family.num_tasks),
        key,
        num_episodes=episodes,
        horizon=algorithm.environment.max_episode_steps,
    )
    metric = np.asarray(result.metric(family.metric)).mean(axis=1)
    return {
        family.metric: float(metric.mean()),
        "tasks": dict(zip(family.train_names, map(float, metric), strict=True)),
        "info": {name: float(np.mean(value)) for name, value in result.info.items()},
    }


def _curve(env_steps: np.ndarray, metric: np.ndarray, every: int) -> list[list[float | None]]:
    """Steps and the mean over tasks of what was seen, every few updates."""
    return [
        [int(steps), round(float(np.nanmean(values)), 3) if np.isfinite(values).any() else None]
        for steps, values in zip(env_steps[::every], metric[::every], strict=True)
    ]


def _reached(rows: Mapping[str, list[Row]]) -> Row:
    summary: Row = {}
    for case, found in rows.items():
        target = TARGETS[case]
        reached = mean_interval([row["final"][row["metric"]] for row in found])
        kept = all(
            np.mean([row["final"]["info"][name] for row in found]) <= most
            for name, most in target.limits.items()
        )
        assert reached["mean"] is not None
        summary[case] = {
            "target": target.least,
            "limits": dict(target.limits),
            "reached": reached,
            "met": bool(kept and reached["mean"] >= target.least),
        }
    return summary


STUDIES.register(
    "learning",
    Study(
        name="learning",
        what="what training reaches from the default preset's settings, and what was asked",
        cases={
            "lunarlander": {"environment": "lunarlander"},
            "highway": {"environment": "highway"},
            **{name: _SCRATCH for name in TARGETS if TARGETS[name].episodes == 50},
            "brax-halfcheetah": {"environment": "brax-halfcheetah"},
            "metaworld-mt10": {"environment": "metaworld-mt10"},
        },
        keep=(),
        summarise=_reached,
        num_seeds=3,
        try_one=_learn,
    ),
)
