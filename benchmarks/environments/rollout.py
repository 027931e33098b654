"""Steps a second: through the host bridge against the bare backend, and PPO against rejax.

Run: python benchmarks/environments/rollout.py --json benchmarks/results/rollout.json

rejax 0.1.3 needs gymnax 0.0.9, pgx_jax needs 1.0: give ``--rejax-python`` the interpreter of an
environment of its own (``pip install rejax==0.1.3 gymnax==0.0.9 six``, and the same jax). The two
processes then run in turn, never at once.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

HIDDEN_SIZES = (64, 64, 64)
HOST_FAMILIES = {"lunarlander": "lunarlander", "highway": "highway", "metaworld": "metaworld-mt10"}
# Steps of each environment in one timed rollout, about a second at 160 environments.
NUM_STEPS = {"lunarlander": 150, "highway": 300, "metaworld": 60}
PPO = {"num_envs": 160, "num_steps": 64, "num_epochs": 4, "num_minibatches": 8}
SERVE = "--serve-rejax"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    names = [*HOST_FAMILIES, "cartpole", "bridge"]
    parser.add_argument("--envs", nargs="+", choices=names, default=names)
    parser.add_argument("--num-envs", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rejax-python", help="interpreter that has rejax")
    args = parser.parse_args()

    load = [os.getloadavg()[0]]
    rows: dict[str, Any] = {}
    for name in args.envs:
        if name == "cartpole":
            rows[name] = cartpole_rows(args)
        elif name == "bridge":
            rows[name] = {str(count): bridge_rows(count, args.repeats) for count in (16, 160)}
        else:
            rows[name] = host_rows(name, args)
        print(name, rows[name], flush=True)
    load.append(os.getloadavg()[0])
    if args.json:
        from pgx_jax.experiments.provenance import write_results

        write_results(
            args.json,
            {
                "what": "environment steps per second, medians after a warm-up; what is compared "
                "runs in turn in one run",
                "hidden_sizes": HIDDEN_SIZES,
                "repeats": args.repeats,
                "load_average": load,
                "rows": rows,
            },
        )


def host_rows(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The backend alone with random actions, and the same batch with a policy in the loop."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from pgx_jax.envs.base import Box
    from pgx_jax.envs.families import make_family
    from pgx_jax.networks import MLP
    from pgx_jax.rl.policies import make_policy
    from pgx_jax.rl.rollout import reset_rollout, rollout, tasks_of
    from pgx_jax.rl.training import share_environments

    family = make_family(HOST_FAMILIES[name], num_tasks=10, num_test_tasks=1)
    environment, num_steps = family.environment, NUM_STEPS[name]
    policy = make_policy(environment, MLP(HIDDEN_SIZES))
    params = policy.init(jax.random.key(0))
    tasks = tasks_of(family.train_tasks, share_environments(jnp.arange(10), args.num_envs))
    key = jax.random.key(1)

    @jax.jit
    def roll(params: Any, state: Any, key: Any) -> Any:
        return rollout(environment, policy, params, state, tasks, key, num_steps)

    def through_the_bridge() -> float:
        state = reset_rollout(environment, tasks, key)
        started = time.perf_counter()
        jax.block_until_ready(roll(params, state, key))
        seconds = time.perf_counter() - started
        environment.check()
        return seconds

    rng, space = np.random.default_rng(0), environment.action_space
    if isinstance(space, Box):
        shape = (num_steps, args.num_envs, space.size)
        actions = rng.uniform(-1, 1, shape).astype(np.float32)
    else:
        actions = rng.integers(0, space.num_actions, (num_steps, args.num_envs))

    through_the_bridge()
    (kept,) = environment._calls._batches.values()  # the very batch that the bridge steps
    seeds = np.arange(args.num_envs)

    def alone() -> float:
        kept.batch.reset(seeds)
        started = time.perf_counter()
        for action in actions:
            kept.batch.step(action)
        return time.perf_counter() - started

    bare, bridged = in_turn([alone, through_the_bridge], args.repeats)
    family.close()
    steps = args.num_envs * num_steps
    row = {
        "backend": environment.backend,
        "num_envs": args.num_envs,
        "bare_steps_per_second": steps / bare,
        "rollout_steps_per_second": steps / bridged,
        "ratio": bare / bridged,
    }
    if name == "highway":
        python = highway_env_rate(args.repeats)
        row["highway_env_steps_per_second"] = python
        row["ratio_to_highway_env"] = steps / bridged / python
    return row


def highway_env_rate(repeats: int, num_envs: int = 10, num_steps: int = 3) -> float:
    """Steps a second of the same tasks in highway-env itself, in this process, without a policy."""
    import numpy as np

    from pgx_jax.envs.families import make_family

    family = make_family("highway", num_tasks=10, num_test_tasks=1, backend="highway-env")
    batch = family.environment._settings.make_batch(np.arange(num_envs) % 10)
    actions = np.random.default_rng(0).integers(0, 5, (num_steps, num_envs))

    def alone() -> float:
        batch.reset(np.arange(num_envs))
        started = time.perf_counter()
        for action in actions:
            batch.step(action)
        return time.perf_counter() - started

    (seconds,) = in_turn([alone], repeats)
    batch.close()
    return num_envs * num_steps / seconds


def cartpole_rows(args: argparse.Namespace) -> dict[str, Any]:
    """Whole PPO updates of both libraries: same network, sizes and number of minibatches."""
    import jax
    import jax.numpy as jnp

    from pgx_jax.envs.cartpole import cartpole
    from pgx_jax.networks import MLP
    from pgx_jax.rl.algorithms import PPOConfig
    from pgx_jax.rl.training import share_environments

    def update_of(num_tasks: int) -> Callable[[], float]:
        family = cartpole(num_tasks=num_tasks, num_test_tasks=1)
        environment = family.environment
        algorithm = PPOConfig(**PPO).make(environment, MLP(HIDDEN_SIZES), num_tasks)
        index = share_environments(jnp.arange(num_tasks), PPO["num_envs"])
        state = algorithm.init(
            algorithm.init_agent(jax.random.key(0)), family.train_tasks, index, jax.random.key(1)
        )
        progress, standing = jnp.zeros(()), [state]

        def update() -> float:
            started = time.perf_counter()
            standing[0], metrics = algorithm.update(
                standing[0], family.train_tasks, index, progress
            )
            jax.block_until_ready((standing[0].agent, metrics))
            return time.perf_counter() - started

        return update

    steps = PPO["num_envs"] * PPO["num_steps"]
    updates = {"pgx_jax": update_of(1), "pgx_jax, 10 tasks": update_of(10)}
    process: Any = None
    if args.rejax_python:
        command = [args.rejax_python, __file__, SERVE]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        updates["rejax"] = lambda: ask(process)
    else:
        print("cartpole: no --rejax-python, so nothing to compare with")
    rates = [steps / one for one in in_turn(list(updates.values()), 3 * args.repeats)]
    if process is not None:
        process.communicate("", timeout=30)
    row: dict[str, Any] = {
        name: {"steps_per_second": rate} for name, rate in zip(updates, rates, strict=True)
    }
    if process is not None:
        row["ratio"] = rates[0] / rates[-1]
    return {**PPO, **row}


def ask(process: Any) -> float:
    """Seconds of one update in the other process."""
    process.stdin.write("update\n")
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"rejax's process ended with code {process.wait()}")
    return float(answer)


def serve_rejax() -> None:
    """One timed update for every line read; runs where rejax is installed."""
    import jax
    import rejax

    algorithm = rejax.PPO.create(
        env="CartPole-v1",
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": HIDDEN_SIZES},
        skip_initial_evaluation=True,
        learning_rate=1e-3,
        max_grad_norm=0.5,
        **PPO,
    )
    update = jax.jit(algorithm.train_iteration)
    state = algorithm.init_state(jax.random.PRNGKey(0))
    for _ in sys.stdin:
        started = time.perf_counter()
        state = jax.block_until_ready(update(state))
        print(time.perf_counter() - started, flush=True)


def bridge_rows(num_envs: int, repeats: int, num_steps: int = 500) -> dict[str, float]:
    """Microseconds a batched step of environments that do nothing."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import io_callback

    from pgx_jax.envs.base import Discrete
    from pgx_jax.envs.host.environment import HostEnvironment, HostStep, HostTasks
    from pgx_jax.networks import MLP
    from pgx_jax.rl.policies import make_policy
    from pgx_jax.rl.rollout import reset_rollout, rollout, sample_action

    size = 8

    class Idle:
        """B environments that are always where they were."""

        def __init__(self, rows: np.ndarray) -> None:
            self.seen = np.zeros((len(rows), size), np.float32)
            flags = np.zeros(len(rows), bool)
            self.answer = HostStep(self.seen, np.zeros(len(rows), np.float32), flags, flags)

        def reset(self, seeds: np.ndarray) -> np.ndarray:
            return self.seen

        def step(self, action: np.ndarray) -> HostStep:
            return self.answer

        def close(self) -> None:
            pass

        def where(self) -> int | None:
            return None

    environment, unlimited = (
        HostEnvironment(
            "idle",
            Idle,
            observation_shape=(size,),
            action_space=Discrete(4),
            max_episode_steps=10,
            task_names=["idle"] * num_envs,
            backend="none",
            time_limit=limit,
        )
        for limit in (60.0, math.inf)
    )
    tasks = HostTasks(np.arange(num_envs, dtype=np.int32))
    policy = make_policy(environment, MLP(HIDDEN_SIZES))
    params, key = policy.init(jax.random.key(0)), jax.random.key(1)

    @partial(jax.jit, static_argnums=0)
    def roll(environment: Any, params: Any, state: Any, key: Any) -> Any:
        return rollout(environment, policy, params, state, tasks, key, num_steps)

    @jax.jit
    def policy_alone(params: Any, observation: Any, key: Any) -> Any:
        def one_step(observation: Any, step_key: Any) -> Any:
            action, log_prob = sample_action(
                policy, params, observation, jax.random.split(step_key, num_envs)
            )
            return observation + 1e-3 * action[:, None], log_prob

        return jax.lax.scan(one_step, observation, jax.random.split(key, num_steps))

    @jax.jit
    def callback_alone(packed: Any) -> Any:
        shape = jax.ShapeDtypeStruct(packed.shape, packed.dtype)

        def one_step(packed: Any, _: Any) -> Any:
            return io_callback(np.asarray, shape, packed, ordered=True), None

        return jax.lax.scan(one_step, packed, None, length=num_steps)[0]

    def timed(function: Callable[[], Any]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            jax.block_until_ready(function())
            return time.perf_counter() - started

        return run

    def bridged(environment: Any) -> float:
        state = reset_rollout(environment, tasks, key)
        return timed(lambda: roll(environment, params, state, key))()

    seen = jnp.zeros((num_envs, size))
    width = environment._settings.width
    seconds = in_turn(
        [
            partial(bridged, environment),
            partial(bridged, unlimited),
            timed(lambda: policy_alone(params, seen, key)),
            timed(lambda: callback_alone(jnp.zeros(num_envs * width))),
        ],
        repeats,
    )
    environment.close()
    unlimited.close()
    names = ("rollout", "rollout, no time limit", "policy alone", "io_callback alone")
    return {
        f"{name}, us a step": 1e6 * one / num_steps
        for name, one in zip(names, seconds, strict=True)
    }


def in_turn(functions: list[Callable[[], float]], repeats: int) -> list[float]:
    """Median seconds of each, one after the other in every round, after a warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for own, function in zip(seconds, functions, strict=True):
            own.append(function())
    return [statistics.median(own) for own in seconds]


if __name__ == "__main__":
    serve_rejax() if SERVE in sys.argv else main()
