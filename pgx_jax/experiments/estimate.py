"""The stages from meta-training to groups."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.estimation import (
    EstimatedAffinity,
    estimate_affinity,
    fit_subsets,
    gradient_features,
    normalise_features,
    perturbed_params,
    scatter_scores,
    score_subsets,
    standardise_advantage,
    usual_design,
)
from pgx_jax.estimation.projections.features import PROJECTIONS, Projection
from pgx_jax.experiments.config import RunConfig, config_fields, task_fields
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.stages import Outcome, Stage, StageRunner
from pgx_jax.experiments.start import prepare_start
from pgx_jax.experiments.training import agent_tree, make_ppo, stage_key, train, tree_agent
from pgx_jax.grouping import cluster_tasks
from pgx_jax.pipeline import split_transitions
from pgx_jax.rl.algorithms.ppo import PPO
from pgx_jax.rl.evaluation import evaluate_many
from pgx_jax.rl.transitions import collect_transitions
from pgx_jax.types import SubsetFits, Transitions

# Episodes that run side by side: more of them run out of cache on a CPU, and out of memory
# where every episode holds a simulator.
_JAX_EPISODES, _HOST_EPISODES = 3200, 200


def updates_for(config: RunConfig, env_steps: float) -> int:
    """PPO updates that come nearest to that many environment steps, at least one."""
    return max(1, round(env_steps / config.ppo.steps_per_update))


def estimate_groups(runner: StageRunner, family: TaskFamily, config: RunConfig) -> Stage:
    """Meta-training, features, subsets, fits, scores, affinity, grouping.

    Args:
        runner: runs or reuses the stages.
        family: the tasks.
        config: the settings.

    Returns:
        The stage "grouping", with ``labels`` int[n] and its certificate in ``facts``. All the
        stages are in ``runner.finished``.
    """
    ppo = make_ppo(family, config, config.hidden_sizes)
    num_tasks = family.num_tasks

    drawn = _draw_subsets(runner, config)
    start = prepare_start(runner, family, config)

    def meta(advance: Advance) -> Outcome:
        key, agent_key = jax.random.split(stage_key(config, "meta"))
        count = updates_for(config, config.meta_steps)
        result = train(
            ppo, start.agent(ppo, agent_key), family, np.arange(num_tasks), count, key, advance
        )
        tree = {
            "agent": agent_tree(result.agent),
            "env_steps": result.env_steps,
            "returns": result.returns,
        }
        return Outcome(tree, int(result.env_steps[-1]))

    names = ("seed", "hidden_sizes", "ppo", "meta_steps", "warm_start")
    settings = {**task_fields(config), **config_fields(config, *names)}
    parents = start.parents
    agent = tree_agent(runner.run("meta", settings, parents, meta).tree["agent"])

    def transitions(_: Advance) -> Outcome:
        collected = collect_transitions(
            ppo,
            agent,
            family.train_tasks,
            stage_key(config, "transitions"),
            num_tasks=num_tasks,
            num_steps=config.num_steps,
        )
        return Outcome(collected._asdict(), num_tasks * config.num_steps)

    settings = config_fields(config, "seed", "num_steps")
    tree = runner.run("transitions", settings, ["meta"], transitions).tree
    data = jax.tree.map(jnp.asarray, Transitions(**tree))
    data = data._replace(advantage=standardise_advantage(data.advantage, data.mask))
    make = PROJECTIONS[config.projection]
    projection = make(stage_key(config, "projection"), agent.policy, config.dim)

    def features(_: Advance) -> Outcome:
        made = gradient_features(ppo.policy.log_prob, agent.policy, data, projection)
        scaled, scale = normalise_features(made, data.mask)
        return Outcome({"features": scaled, "scale": scale})

    # Left out where it is the usual one, so that finished runs can still be resumed.
    names = ["seed", "dim"] + (["projection"] if config.projection != "gaussian" else [])
    settings = config_fields(config, *names)
    tree = runner.run("features", settings, ["transitions"], features).tree
    made = jnp.asarray(tree["features"])

    # Scores from data alone are made on transitions that the fits did not see.
    fit_mask, score_mask = data.mask, data.mask
    if config.score != "rollout":
        fit_mask, score_mask = split_transitions(
            stage_key(config, "split"), data.advantage, data.mask
        )

    def fits(_: Advance) -> Outcome:
        found = fit_subsets(made, data.advantage, drawn, l2=config.l2, mask=fit_mask)
        facts = {
            "converged": int(np.sum(found.converged)),
            "steps": int(found.steps),
            "largest_grad_norm": float(np.max(found.grad_norm)),
        }
        return Outcome(found._asdict(), facts=facts)

    settings = {"l2": config.l2, "held_out": config.score != "rollout", "seed": config.seed}
    stage = runner.run("fits", settings, ["features", "subsets"], fits)
    found = SubsetFits(**jax.tree.map(jnp.asarray, stage.tree))

    def scores(advance: Advance) -> Outcome:
        if config.score == "rollout":
            values, steps = _rollout_scores(
                family, config, ppo, agent.policy, projection, found, drawn, advance
            )
            return Outcome({"scores": values}, steps)
        values = score_subsets(
            found,
            made,
            data.advantage,
            mask=score_mask,
            kind=config.score,
            params=agent.policy,
            projection=projection,
            rho=config.rho if config.score == "off_policy" else None,
            log_prob=ppo.policy.log_prob,
            transitions=data,
        )
        return Outcome({"scores": values})

    names = ["score", "seed"]
    names += ["rho"] if config.score in ("rollout", "off_policy") else []
    names += ["score_episodes"] if config.score == "rollout" else []
    settings = config_fields(config, *sorted(names))
    values = runner.run("scores", settings, ["fits"], scores).tree["scores"]

    return _group(runner, config, values, drawn)


def _group(runner: StageRunner, config: RunConfig, values: np.ndarray, drawn: Array) -> Stage:
    """Affinity and clustering."""

    @cache
    def estimate() -> EstimatedAffinity:
        return estimate_affinity(jnp.asarray(values), drawn, config.affinity)

    def affinity(_: Advance) -> Outcome:
        return Outcome({"affinity": estimate().affinity})

    settings = config_fields(config, "affinity")
    matrix = runner.run("affinity", settings, ["scores"], affinity).tree["affinity"]

    def grouping(_: Advance) -> Outcome:
        result = cluster_tasks(
            matrix,
            config.num_groups,
            scores=values,
            subsets=np.asarray(drawn),
            # Made again, as the affinity may come from a finished stage.
            refit=estimate().refit if config.num_groups is None else None,
            max_groups=min(config.max_groups, config.num_tasks),
            seed=config.seed,
        )
        facts = {
            "num_groups": result.num_groups,
            "objective": result.objective,
            "upper_bound": result.upper_bound,
            "certified_gap": result.certified_gap,
            "status": result.status,
            "selection": result.selection,
        }
        return Outcome({"labels": result.labels}, facts=facts)

    names = ["num_groups", "seed"] + (["max_groups"] if config.num_groups is None else [])
    settings = config_fields(config, *names)
    return runner.run("grouping", settings, ["affinity"], grouping)


def _draw_subsets(runner: StageRunner, config: RunConfig) -> Array:
    """Drawn first: too few of them to cover every pair is an error, before any work."""

    def subsets(_: Advance) -> Outcome:
        design = usual_design(
            config.num_tasks, subset_size=config.subset_size, num_subsets=config.num_subsets
        )
        return Outcome({"subsets": design.draw(stage_key(config, "subsets"))})

    settings = config_fields(config, "seed", "num_tasks", "num_subsets", "subset_size")
    return jnp.asarray(runner.run("subsets", settings, [], subsets).tree["subsets"])


def _rollout_scores(
    family: TaskFamily,
    config: RunConfig,
    ppo: PPO,
    params: Any,
    projection: Projection,
    fits: SubsetFits,
    subsets: Array,
    advance: Advance,
) -> tuple[Array, int]:
    """Mean returns float[m, n] of the adapted policies, and the steps that they took."""
    num_subsets = subsets.shape[0]
    size = int(np.asarray(subsets).sum(axis=1).max())
    members = np.argsort(~np.asarray(subsets), axis=1, kind="stable")[:, :size]
    limit = _JAX_EPISODES if not family.close else _HOST_EPISODES
    chunks = -(-num_subsets * size * config.score_episodes // limit)
    per_chunk = -(-num_subsets // min(chunks, num_subsets))
    returns = np.zeros(members.shape, np.float32)
    steps = 0
    for start in range(0, num_subsets, per_chunk):
        # The last chunk is filled up with the first subsets: one shape, one program.
        rows = np.arange(start, start + per_chunk) % num_subsets
        result = evaluate_many(
            ppo.environment,
            ppo.policy,
            _adapted(params, projection, fits.coef[rows], config.rho),
            family.train_tasks,
            jnp.asarray(members[rows]),
            stage_key(config, "scores"),
            num_episodes=config.score_episodes,
            horizon=ppo.environment.max_episode_steps,
            greedy=False,
        )
        returns[rows] = np.asarray(result.returns).mean(axis=-1)
        steps += int(result.num_steps)
        done = min(start + per_chunk, num_subsets)
        advance(done / num_subsets, f"{done}/{num_subsets} subsets")
    return scatter_scores(jnp.asarray(returns), jnp.asarray(members), subsets), steps


@jax.jit
def _adapted(params: Any, projection: Projection, coef: Array, rho: float) -> Any:
    """θ_S of several subsets, leaves leading with their number."""
    return jax.vmap(lambda one: perturbed_params(params, projection, one, rho))(coef)
