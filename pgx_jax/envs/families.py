"""Task families by name."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.ranges import parse_ranges
from pgx_jax.registry import unknown_name


class FamilyEntry(NamedTuple):
    """Where a family is made, and what a newcomer needs to know of it.

    Attributes:
        module: module that holds the maker; imported when the family is asked for.
        maker: function ``(num_tasks, num_test_tasks, seed[, backend]) -> TaskFamily``.
        extra: pip extra that it needs.
        summary: one line.
        backends: what can run it, the default first; empty where there is no choice.
    """

    module: str
    maker: str
    extra: str
    summary: str
    backends: tuple[str, ...] = ()


FAMILIES: dict[str, FamilyEntry] = {
    "cartpole": FamilyEntry(
        "pgx_jax.envs.cartpole",
        "cartpole",
        "run",
        "CartPole with varied gravity, masses, length and force (gymnax)",
    ),
    "cartpole-planted": FamilyEntry(
        "pgx_jax.envs.cartpole",
        "cartpole_planted",
        "run",
        "CartPole in three known groups: normal, inverted, long and heavy",
    ),
    "lunarlander": FamilyEntry(
        "pgx_jax.envs.lunarlander",
        "lunarlander",
        "lunarlander",
        "LunarLander-v3 with varied gravity, wind, turbulence and engine",
        ("gymnasium", "gymnasium-async"),
    ),
    "highway": FamilyEntry(
        "pgx_jax.envs.highway",
        "highway",
        "highway",
        "highway-fast-v0: traffic, lanes, conflicting reward weights",
        ("envpool", "highway-env", "highway-env-async"),
    ),
    "metaworld-mt10": FamilyEntry(
        "pgx_jax.envs.metaworld.families",
        "metaworld_mt10",
        "metaworld",
        "Meta-World's ten MT10 tasks, 50 goals each; judged by success",
        ("envpool", "metaworld"),
    ),
    "metaworld-mt50": FamilyEntry(
        "pgx_jax.envs.metaworld.families",
        "metaworld_mt50",
        "metaworld",
        "Meta-World's fifty MT50 tasks, 50 goals each; judged by success",
        ("envpool", "metaworld"),
    ),
    "brax-halfcheetah": FamilyEntry(
        "pgx_jax.envs.brax.families",
        "brax_halfcheetah",
        "brax",
        "brax half-cheetah with varied physics and target speed",
        ("spring", "positional", "generalized", "mjx"),
    ),
    "brax-ant": FamilyEntry(
        "pgx_jax.envs.brax.families",
        "brax_ant",
        "brax",
        "brax ant with varied physics and target direction",
        ("spring", "positional", "generalized", "mjx"),
    ),
    "cartpole-sign": FamilyEntry(
        "pgx_jax.envs.cartpole_variants",
        "cartpole_sign",
        "run",
        "as cartpole, the force's sign random: two known groups",
    ),
    "cartpole-goal": FamilyEntry(
        "pgx_jax.envs.cartpole_goal",
        "cartpole_goal",
        "run",
        "CartPole paid for the cart at a hidden place",
    ),
    "cartpole-identical": FamilyEntry(
        "pgx_jax.envs.cartpole_variants",
        "cartpole_identical",
        "run",
        "copies of CartPole: one group, nothing to find",
    ),
    "navigation": FamilyEntry(
        "pgx_jax.envs.navigation",
        "navigation",
        "run",
        "a point that moves to a hidden goal in the plane",
    ),
    "direction": FamilyEntry(
        "pgx_jax.envs.direction",
        "direction",
        "run",
        "a velocity in the plane, paid along a hidden direction",
    ),
    "direction-narrow": FamilyEntry(
        "pgx_jax.envs.direction",
        "direction_narrow",
        "run",
        "as direction, all directions near one: one group",
    ),
    "pendulum": FamilyEntry(
        "pgx_jax.envs.pendulum",
        "pendulum",
        "run",
        "Pendulum with varied gravity, length and torque (gymnax)",
    ),
    "pendulum-sign": FamilyEntry(
        "pgx_jax.envs.pendulum",
        "pendulum_sign",
        "run",
        "as pendulum, the torque's sign random: two known groups",
    ),
    "xland-rules": FamilyEntry(
        "pgx_jax.envs.xland_rules",
        "xland_rules",
        "xminigrid",
        "XLand-MiniGrid, a hidden rule: four known groups",
    ),
    "lunarlander-goal": FamilyEntry(
        "pgx_jax.envs.lunarlander_goal",
        "lunarlander_goal",
        "lunarlander",
        "LunarLander-v3 with a hidden place to land",
        ("gymnasium", "gymnasium-async"),
    ),
    "brax-halfcheetah-direction": FamilyEntry(
        "pgx_jax.envs.brax.directions",
        "brax_halfcheetah_direction",
        "brax",
        "half-cheetah, forwards or backwards: two known groups",
        ("spring", "positional", "generalized", "mjx"),
    ),
    "brax-halfcheetah-velocity": FamilyEntry(
        "pgx_jax.envs.brax.directions",
        "brax_halfcheetah_velocity",
        "brax",
        "half-cheetah with a hidden target velocity",
        ("spring", "positional", "generalized", "mjx"),
    ),
    "brax-ant-direction": FamilyEntry(
        "pgx_jax.envs.brax.directions",
        "brax_ant_direction",
        "brax",
        "ant with a hidden direction to run in",
        ("spring", "positional", "generalized", "mjx"),
    ),
}

# A name that starts so stands for any environment of that library.
GENERIC: dict[str, FamilyEntry] = {
    "gymnax:": FamilyEntry(
        "pgx_jax.envs.gymnax_families",
        "gymnax_family",
        "run",
        "any gymnax environment; --range or --task-file say what varies",
    ),
    "gymnasium:": FamilyEntry(
        "pgx_jax.envs.gymnasium_families",
        "gymnasium_family",
        "gymnasium",
        "any Gymnasium environment; its keyword arguments vary",
        ("gymnasium", "gymnasium-async"),
    ),
}


def find_family(name: str) -> tuple[FamilyEntry, str]:
    """The entry of a family, and the library's own name where it is ``gymnax:`` or such.

    Raises:
        ValueError: an unknown name (the nearest one is suggested).
    """
    for prefix, entry in GENERIC.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return entry, name.removeprefix(prefix)
    if name not in FAMILIES:
        if re.search(r"[A-Z].*-v\d+$", name):
            raise ValueError(
                f'unknown environment "{name}"; did you mean "gymnasium:{name}" or '
                f'"gymnax:{name}"? pgx-jax list names the others'
            )
        known = [*FAMILIES, *(f"{prefix}NAME" for prefix in GENERIC)]
        raise ValueError(unknown_name("environment", name, known))
    return FAMILIES[name], ""


def check_family(
    name: str,
    *,
    backend: str | None = None,
    ranges: Sequence[str] = (),
    task_file: str | None = None,
) -> None:
    """Raise ValueError where these options do not go together; makes nothing."""
    entry, own_name = find_family(name)
    # Before the environment's packages, which may be missing.
    parse_ranges(ranges)
    if backend is not None and backend not in entry.backends:
        if not entry.backends:
            raise ValueError(f'"{name}" runs in JAX and has no backend to choose')
        raise ValueError(unknown_name(f"backend of {name}", backend, entry.backends))
    if not own_name and (ranges or task_file):
        raise ValueError(
            f'"{name}" has its published tasks; ranges and a task file are for gymnax:NAME and '
            "gymnasium:ID"
        )
    if ranges and task_file:
        raise ValueError("ranges and a task file both say what varies; give one of them")


def make_family(
    name: str,
    *,
    num_tasks: int = 10,
    num_test_tasks: int = 50,
    seed: int = 0,
    backend: str | None = None,
    ranges: Sequence[str] = (),
    task_file: str | None = None,
) -> TaskFamily:
    """The task family of that name.

    Args:
        name: a key of ``FAMILIES``, ``gymnax:NAME`` or ``gymnasium:ID``.
        num_tasks: n, source tasks.
        num_test_tasks: held-out test tasks.
        seed: of the tasks, not of the training.
        backend: what runs the environments; None takes the family's default.
        ranges: what varies in a generic family, such as "gravity=5:20".
        task_file: Python file that says so instead.

    Returns:
        The family.

    Raises:
        ValueError: an unknown name (the nearest one is suggested), or options that do not fit.
        ImportError: a package is missing (the pip command is named).
    """
    check_family(name, backend=backend, ranges=ranges, task_file=task_file)
    entry, own_name = find_family(name)
    try:
        return _make(entry, own_name, num_tasks, num_test_tasks, seed, backend, ranges, task_file)
    except ImportError as error:
        # Which extra holds the package is known here, not where the import failed.
        missing = error.name or getattr(error.__cause__, "name", None)
        if missing is None or missing.startswith("pgx_jax"):
            raise
        raise ImportError(
            f'"{name}" needs {missing}: pip install "pgx_jax[{entry.extra}]"', name=missing
        ) from error


def _make(
    entry: FamilyEntry,
    own_name: str,
    num_tasks: int,
    num_test_tasks: int,
    seed: int,
    backend: str | None,
    ranges: Sequence[str],
    task_file: str | None,
) -> TaskFamily:
    maker: Callable[..., TaskFamily] = getattr(import_module(entry.module), entry.maker)
    options: dict = {"num_tasks": num_tasks, "num_test_tasks": num_test_tasks, "seed": seed}
    if entry.backends:
        options["backend"] = backend
    if not own_name:
        return maker(**options)
    from pgx_jax.envs.parameters import load_task_file

    varied = load_task_file(task_file) if task_file else parse_ranges(ranges)
    return maker(own_name, varied, **options)
