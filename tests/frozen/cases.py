"""``group_tasks`` on fixed arrays, for every projection, score and affinity rule.

``python -m tests.frozen.cases`` freezes what it gives now; a commit that changes a case says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pgx_jax

FROZEN = Path(__file__).parent / "group_tasks.npz"
PROJECTIONS = ("gaussian", "tensor_sketch", "rademacher")
SCORES = ("rollout", "surrogate", "linearised", "off_policy")
RULES = ("additive", "completed", "pair", "subset")
SIZES = (1, 2, 3, 5, 10, 30, 50)


def log_prob(params: Any, observation: Any, action: Any) -> Any:
    """Of a softmax policy with one hidden layer."""
    hidden = jnp.tanh(observation @ params["w1"] + params["b1"])
    return jax.nn.log_softmax(hidden @ params["w2"] + params["b2"])[action]


def rollout(params: Any, tasks: Any, key: Any) -> Any:
    """A stand-in for returns: even and odd tasks want opposite logits."""
    states = jax.random.normal(jax.random.key(7), (16, params["w1"].shape[0]))
    logits = jnp.tanh(states[tasks % 16] @ params["w1"] @ params["w2"])
    side = jnp.where(tasks % 2 == 0, 1.0, -1.0)
    return logits[:, 0] - logits[:, 1] * side + 0.001 * jax.random.normal(key, tasks.shape)


def problem(num_tasks: int, num_steps: int, seed: int) -> tuple[Any, pgx_jax.Transitions]:
    """Parameters and transitions of tasks that fall into even and odd ones."""
    rng = np.random.default_rng(seed)
    params = {
        "w1": rng.normal(size=(5, 6)).astype("f4"),
        "b1": np.zeros(6, "f4"),
        "w2": rng.normal(size=(6, 3)).astype("f4"),
        "b2": np.zeros(3, "f4"),
    }
    shape = (num_tasks, num_steps)
    observation = rng.normal(size=(*shape, 5)).astype("f4")
    action = rng.integers(0, 3, size=shape)
    side = np.where(np.arange(num_tasks) % 2 == 0, 1, -1)[:, None]
    signal = observation[..., 0] * (action == 1) - observation[..., 1] * (action == 2)
    advantage = (side * signal + 0.5 * rng.normal(size=shape)).astype("f4")
    mask = rng.random(shape) > 0.1
    return params, pgx_jax.Transitions(*map(jnp.asarray, (observation, action, advantage, mask)))


def options_of(case: str) -> dict[str, Any]:
    """Arguments of ``group_tasks`` for a case, its data apart."""
    projection, score, rule, chosen = case.split("|")
    return {
        "num_groups": None if chosen == "None" else int(chosen),
        "key": jax.random.key(3),
        "rollout": rollout if score == "rollout" else None,
        "kind": score,
        "dim": 24,
        "projection": projection,
        "affinity": rule,
        "num_subsets": 40,
        "max_groups": 4,
    }


def cases() -> Iterator[str]:
    """Names of all cases."""
    for projection in PROJECTIONS:
        for score in SCORES:
            for rule in RULES if projection == "gaussian" else RULES[:1]:
                for chosen in ("2", "None"):
                    yield f"{projection}|{score}|{rule}|{chosen}"
    yield from (f"n{size}" for size in SIZES)


def run(case: str) -> dict[str, np.ndarray]:
    """Labels and affinity of a case."""
    if case.startswith("n"):
        size = int(case.removeprefix("n"))
        params, transitions = problem(size, 40, size)
        chosen = None if size >= 5 else min(size, 2)
        options: dict[str, Any] = {"num_groups": chosen, "key": jax.random.key(size), "dim": 16}
    else:
        params, transitions = problem(8, 96, 0)
        options = options_of(case)
    found = pgx_jax.group_tasks(log_prob, params, transitions, **options)
    return {"labels": found.grouping.labels, "affinity": np.asarray(found.affinity, np.float32)}


if __name__ == "__main__":
    made = {case: run(case) for case in cases()}
    arrays: Any = {
        f"{case}|{name}": value for case, parts in made.items() for name, value in parts.items()
    }
    np.savez_compressed(FROZEN, **arrays)
