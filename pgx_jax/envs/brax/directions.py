"""Half-cheetah and ant that differ in their target alone; the physics is brax's in all tasks.

Half-cheetah: Chelsea Finn, Pieter Abbeel, Sergey Levine: "Model-agnostic meta-learning for fast
adaptation of deep networks", ICML 2017, section 5.3; public code: cbfinn/maml_rl. Ant: Kate Rakelly
et al.: "Efficient off-policy meta-reinforcement learning via probabilistic context variables"
(PEARL), ICML 2019; public code: katerakelly/oyster, ``ant_dir.py``. Differences:

1. The robots and their simulator are brax's, not MuJoCo under rllab; so are the control cost, the
   ant's survival bonus, and observations, which show no contact forces.
2. An episode has 1000 steps, as in brax; MAML's and PEARL's have 200.
3. MAML pays -|v - target| for a velocity. ``BraxEnvironment`` pays target - |v - target|: the same
   but for a constant of each task.
4. The ant runs in any direction of the plane, as in PEARL; MAML's ant runs forwards or backwards.
5. MAML's paper draws target velocities from U(0, 2), as here; its public code from U(.1, .8) where
   none is given.
6. Tasks are a fixed list; in the papers new ones are drawn in training.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.brax.adapter import BraxEnvironment, BraxTasks
from pgx_jax.envs.brax.families import ANGLE_RANGE, brax_family

VELOCITY_RANGE = (0.0, 2.0)
"""Half-cheetah: target velocity, m/s, uniform."""


def brax_halfcheetah_direction(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Half-cheetah that is to run forwards or backwards as fast as it can, both equally probable.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family, with ``groups`` known: by direction, the smaller number for backwards.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    family = _family(
        "brax-halfcheetah-direction",
        lambda share: np.where(share < 0.5, -np.inf, np.inf),
        lambda target: "forwards" if target > 0 else "backwards",
        "forwards or backwards with probability 1/2",
        (num_tasks, num_test_tasks),
        seed,
        backend,
    )
    forwards = np.asarray(family.train_tasks.target) > 0
    return family._replace(groups=np.unique(forwards, return_inverse=True)[1])


def brax_halfcheetah_velocity(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Half-cheetah that is to run forwards at a velocity drawn from ``VELOCITY_RANGE``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    low, high = VELOCITY_RANGE
    return _family(
        "brax-halfcheetah-velocity",
        lambda share: low + (high - low) * share,
        "v={:.2f}".format,
        f"target velocity U[{low:g}, {high:g}] m/s",
        (num_tasks, num_test_tasks),
        seed,
        backend,
    )


def brax_ant_direction(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Ant that is to run in a direction drawn from the circle.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    low, high = ANGLE_RANGE
    return _family(
        "brax-ant-direction",
        lambda share: low + (high - low) * share,
        "angle={:+.2f}".format,
        "direction U[-π, π)",
        (num_tasks, num_test_tasks),
        seed,
        backend,
    )


def target_tasks(target: np.ndarray) -> BraxTasks:
    """Tasks with brax's own physics.

    Args:
        target: float[n], as in ``BraxTasks``.

    Returns:
        The tasks, leaves float32[n].
    """
    one = jnp.ones(len(target), jnp.float32)
    return BraxTasks(one, one, one, one, jnp.asarray(target, jnp.float32))


def _family(
    name: str,
    target_at: Callable[[np.ndarray], np.ndarray],
    name_of: Callable[[float], str],
    law: str,
    counts: tuple[int, int],
    seed: int,
    backend: str | None,
) -> TaskFamily:
    """A family whose targets are at shares, uniform in [0, 1), of their distribution."""
    robot = name.split("-")[1]
    train_tasks, test_tasks = (
        target_tasks(target_at(np.random.default_rng(part).random(count)))
        for part, count in zip((2 * seed, 2 * seed + 1), counts, strict=True)
    )
    return brax_family(
        name,
        BraxEnvironment(robot, backend or "spring"),
        train_tasks,
        test_tasks,
        train_names=tuple(
            f"{index}: {name_of(target)}"
            for index, target in enumerate(train_tasks.target.tolist(), 1)
        ),
        description=f"brax {robot}: {law}, physics fixed",
    )
