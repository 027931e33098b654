"""Gradient features by every projection against what a user would run instead, in one process.

Run: python benchmarks/estimation/features.py --json benchmarks/results/features.json

The policy is an MLP with a Gaussian head; the default size has p = 142,856. Peers that take minutes
run on a part of the transitions and are extrapolated in proportion; the results say which. Those
that need PyTorch, traker or dattri are left out where these are not installed, and the results
say so.
"""

import argparse
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
sys.path.insert(0, str(Path(__file__).parents[2]))  # where `benchmarks` is

import jax
import jax.numpy as jnp
import numpy as np

import pgx_jax
from benchmarks.common import gemm_rate
from pgx_jax.estimation import validation
from pgx_jax.estimation.projections.features import _project_gradients
from pgx_jax.experiments.provenance import write_results
from pgx_jax.networks import MLP, GaussianPolicy, count_parameters

OBSERVATIONS, ACTIONS = 39, 4
QUALITY_TRANSITIONS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    add_sizes(parser)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peer-transitions", type=int, default=512, help="part that slow peers run on"
    )
    parser.add_argument("--quality-draws", type=int, default=10)
    args = parser.parse_args()

    policy = GaussianPolicy((OBSERVATIONS,), ACTIONS, MLP((args.width,) * (args.depth - 1)))
    params = policy.init(jax.random.key(0))
    transitions = make_data(args)
    jax.block_until_ready((params, transitions))
    gemm = gemm_rate()
    num_params = count_parameters(params)
    print(f"p = {num_params}, {transitions.advantage.size} transitions, GEMM {gemm:.0f} GFLOP/s")

    rows = {}
    for name, make in {
        "pgx_jax, tensor_sketch": pgx_jax.tensor_sketch,
        "pgx_jax, rademacher": pgx_jax.rademacher_projection,
        "pgx_jax, gaussian": pgx_jax.gaussian_projection,
    }.items():
        projection = make(jax.random.key(2), params, args.dim)
        rows[name] = ours(args, policy.log_prob, params, transitions, projection)
        rows[name]["rms_inner_product_error"] = quality(args, policy, params, transitions, make)
        print(name, rows[name], flush=True)
    part = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: args.peer_transitions],
        (transitions.observation, transitions.action),
    )
    skipped = {}
    for name, run in {
        "jax.grad one transition at a time, matrix-vector product": jax_loop,
        "torch autograd one transition at a time, matrix-vector product": torch_loop,
        "torch.func per-sample gradients, one dense product": torch_func,
        "traker BasicProjector on torch.func gradients": traker,
        "dattri random projection on torch.func gradients": dattri,
    }.items():
        try:
            seconds, count = run(args, policy, params, part)
        except ImportError as error:
            skipped[name] = f"not installed: {error}"
            print(name, skipped[name])
            continue
        rows[name] = {
            "seconds": seconds * transitions.advantage.size / count,
            "measured_on": count,
            "extrapolated_from_seconds": seconds,
        }
        print(name, rows[name], flush=True)
    fastest = rows["pgx_jax, tensor_sketch"]["seconds"]
    for name, row in rows.items():
        row["ratio"] = row["seconds"] / fastest
        print(f"{name:<64} {row['seconds']:9.2f} s  x{row['ratio']:.1f}")
    print(f"GEMM {gemm:.0f} GFLOP/s before, {gemm_rate():.0f} after")
    if args.json:
        write_results(
            args.json,
            {
                "what": "seconds for the features of all transitions, projection drawn, after a "
                "warm-up; median of the repeats for pgx_jax",
                "size": {name: str(value) for name, value in vars(args).items()}
                | {"num_params": num_params},
                "gemm_gflops": gemm,
                "rows": rows,
                "skipped": skipped,
            },
        )


def add_sizes(parser: argparse.ArgumentParser, width: int = 256) -> None:
    """Options for the sizes of the transitions, the policy and the features."""
    parser.add_argument("--num-tasks", type=int, default=10)
    parser.add_argument("--num-steps", type=int, default=2048)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--depth", type=int, default=4, help="linear layers")
    parser.add_argument("--dim", type=int, default=400)


def make_data(args: argparse.Namespace) -> pgx_jax.Transitions:
    """States that stay near a task's mean, and actions around zero, seeded."""
    keys = jax.random.split(jax.random.key(1), 4)
    shape = (args.num_tasks, args.num_steps)
    mean = jax.random.normal(keys[0], (args.num_tasks, 1, OBSERVATIONS))
    observation = mean + 0.5 * jax.random.normal(keys[1], (*shape, OBSERVATIONS))
    action = jax.random.normal(keys[2], (*shape, ACTIONS))
    return pgx_jax.Transitions(observation, action, jax.random.normal(keys[3], shape))


def ours(
    args: argparse.Namespace, log_prob: Callable, params: Any, transitions: Any, projection: Any
) -> dict[str, Any]:
    """Median seconds of ``gradient_features``, its GFLOP/s and the memory that it works in."""

    def run() -> Any:
        return jax.block_until_ready(
            pgx_jax.gradient_features(
                log_prob, params, transitions, projection, batch_size=args.batch_size
            )
        )

    run()
    seconds = []
    for _ in range(args.repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    transitions = validation.parse_transitions(transitions)
    compiled = _project_gradients.lower(
        log_prob, params, transitions, projection, batch_size=args.batch_size,
        max_stored_bytes=2**30,
    ).compile()  # fmt: skip
    operations = floating_point_operations(args, projection)
    return {
        "seconds": median,
        "all_seconds": seconds,
        "matrix_product_gflops": operations / 1e9 / median,
        "working_mib": compiled.memory_analysis().temp_size_in_bytes / 2**20,
        "process_peak_mib_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def floating_point_operations(args: argparse.Namespace, projection: Any) -> float:
    """Of the matrix products alone: passes through the layers, then the projection."""
    sizes = [OBSERVATIONS, *[args.width] * (args.depth - 1), ACTIONS]
    pairs = list(itertools.pairwise(sizes))
    weights = sum(one * two for one, two in pairs)
    passes = 2 * weights + 2 * (weights - sizes[0] * sizes[1])
    if isinstance(projection, pgx_jax.TensorSketch):
        projected = 2 * sum(one + two for one, two in pairs) * 2 * (args.dim // 2 + 1)
    else:
        passes += weights  # outer products
        projected = 2 * projection.num_params * args.dim
    return float(args.num_tasks * args.num_steps * (passes + projected))


def quality(
    args: argparse.Namespace, policy: Any, params: Any, transitions: Any, make: Callable
) -> float:
    """Root mean square of (g̃·h̃ - g·h) / |g||h| over pairs of transitions and draws."""
    step = max(transitions.advantage.size // QUALITY_TRANSITIONS, 1)
    observation, action = (
        leaf.reshape(-1, leaf.shape[-1])[::step]
        for leaf in (transitions.observation, transitions.action)
    )
    gradients = jax.vmap(jax.grad(policy.log_prob), (None, 0, 0))(params, observation, action)
    leaves = jax.tree.leaves(gradients)
    exact = sum(leaf.reshape(len(leaf), -1) @ leaf.reshape(len(leaf), -1).T for leaf in leaves)
    norms = jnp.sqrt(jnp.diagonal(exact))
    squares = []
    for draw in range(args.quality_draws):
        projected = make(jax.random.key(100 + draw), params, args.dim).project(gradients)
        error = (projected @ projected.T - exact) / (norms[:, None] * norms[None])
        squares.append(float((error**2).mean()))
    return float(np.sqrt(np.mean(squares)))


def jax_loop(args: argparse.Namespace, policy: Any, params: Any, part: Any) -> tuple[float, int]:
    """A compiled gradient and a NumPy product for each transition."""
    gradient = jax.jit(jax.grad(policy.log_prob))
    matrix = dense_matrix(args, params)
    observation, action = (np.asarray(leaf) for leaf in part)

    def one(index: int) -> np.ndarray:
        leaves = jax.tree.leaves(gradient(params, observation[index], action[index]))
        return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves]) @ matrix

    return timed_loop(one, len(observation))


def torch_loop(args: argparse.Namespace, policy: Any, params: Any, part: Any) -> tuple[float, int]:
    """``backward`` and a product for each transition, as the authors' sister code does."""
    import torch

    model, log_std = torch_policy(args)
    weights = [*model.parameters(), log_std]
    matrix = torch.randn(count_parameters(params), args.dim)
    observation, action = (torch.from_numpy(np.array(leaf)) for leaf in part)

    def one(index: int) -> Any:
        value = torch_log_prob(model(observation[index]), log_std, action[index])
        gradients = torch.autograd.grad(value, weights)
        return torch.cat([leaf.reshape(-1) for leaf in gradients]) @ matrix

    return timed_loop(one, len(observation))


def torch_func(args: argparse.Namespace, policy: Any, params: Any, part: Any) -> tuple[float, int]:
    """``vmap(grad)`` in chunks and one dense product each."""
    import torch

    gradients = torch_gradients(args, part)
    matrix = torch.randn(count_parameters(params), args.dim)
    return timed_once(lambda: gradients() @ matrix), len(part[0])


def traker(args: argparse.Namespace, policy: Any, params: Any, part: Any) -> tuple[float, int]:
    """TRAK's projector for machines without a GPU."""
    import torch
    from trak.projectors import BasicProjector, ProjectionType

    gradients = torch_gradients(args, part)
    projector = BasicProjector(
        grad_dim=count_parameters(params),
        proj_dim=args.dim,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device=torch.device("cpu"),
    )
    return timed_once(lambda: projector.project(gradients(), model_id=0)), len(part[0])


def dattri(args: argparse.Namespace, policy: Any, params: Any, part: Any) -> tuple[float, int]:
    """Dattri's random projection."""
    from dattri.func.projection import random_project

    gradients = torch_gradients(args, part)
    sample = gradients()
    project = random_project(
        sample, sample.shape[0], proj_dim=args.dim, proj_max_batch_size=32, device="cpu"
    )
    return timed_once(lambda: project(gradients())), len(part[0])


def torch_policy(args: argparse.Namespace) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    sizes = [OBSERVATIONS, *[args.width] * (args.depth - 1), ACTIONS]
    layers: list[Any] = []
    for one, two in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(one, two), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1]), torch.full((ACTIONS,), -0.5, requires_grad=True)


def torch_log_prob(mean: Any, log_std: Any, action: Any) -> Any:
    scaled = (action - mean) * (-log_std).exp()
    return (-0.5 * scaled**2 - log_std).sum(-1)


def torch_gradients(args: argparse.Namespace, part: Any) -> Callable[[], Any]:
    """A function that makes the per-sample gradients float[N, p] with torch.func."""
    import torch
    from torch.func import functional_call, grad, vmap

    model, log_std = torch_policy(args)
    weights = {name: leaf.detach() for name, leaf in model.named_parameters()}
    weights = {"model": weights, "log_std": log_std.detach()}
    observation, action = (torch.from_numpy(np.array(leaf)) for leaf in part)

    def log_prob(weights: Any, observation: Any, action: Any) -> Any:
        mean = functional_call(model, weights["model"], (observation,))
        return torch_log_prob(mean, weights["log_std"], action)

    per_sample = vmap(grad(log_prob), in_dims=(None, 0, 0))

    def make() -> Any:
        found = per_sample(weights, observation, action)
        leaves = [*found["model"].values(), found["log_std"]]
        return torch.cat([leaf.flatten(1) for leaf in leaves], dim=1)

    return make


def dense_matrix(args: argparse.Namespace, params: Any) -> np.ndarray:
    shape = (count_parameters(params), args.dim)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def timed_loop(one: Callable[[int], Any], count: int) -> tuple[float, int]:
    one(0)
    started = time.perf_counter()
    for index in range(count):
        one(index)
    return time.perf_counter() - started, count


def timed_once(function: Callable[[], Any]) -> float:
    """Seconds of the second call."""
    function()
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
