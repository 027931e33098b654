"""Task families by name: an environment is a module, and one entry here or from outside."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.identity import IDENTITIES, with_identity
from pgx_jax.envs.presets import Presets, complete_presets
from pgx_jax.envs.ranges import parse_ranges
from pgx_jax.registry import Registry, unknown_name


@dataclass(frozen=True)
class FamilyEntry:
    """Where a family is made, and what a newcomer needs to know of it.

    Attributes:
        module: module that holds the maker; imported when the family is asked for.
        maker: function ``(*, num_tasks, num_test_tasks, seed[, backend]) -> TaskFamily``, or its
            name in ``module``.
        extra: pip extra that it needs.
        summary: one line.
        backends: what can run it, the default first; empty where there is no choice.
        presets: settings of runs, see ``pgx_jax.envs.presets``; or where they are, an attribute
            of ``module`` or "MODULE:NAME"; "" where there are none.
    """

    module: str = ""
    maker: str | Callable[..., TaskFamily] = ""
    extra: str = "run"
    summary: str = ""
    backends: tuple[str, ...] = ()
    presets: str | Presets = ""

    def find_maker(self) -> Callable[..., TaskFamily]:
        """The maker; imports its module."""
        if isinstance(self.maker, str):
            return getattr(import_module(self.module), self.maker)
        return self.maker

    def find_presets(self) -> Presets:
        """The family's own presets, {} where there are none; imports the module that has them."""
        if not isinstance(self.presets, str):
            return self.presets
        module, _, name = self.presets.rpartition(":")
        return getattr(import_module(module or self.module), name) if name else {}


_BRAX_BACKENDS = ("spring", "positional", "generalized", "mjx")


def _bench(place: str, summary: str, extra: str = "run") -> FamilyEntry:
    """One of the small families by which groupings are compared: they share their presets."""
    module, _, maker = place.partition(":")
    presets = "pgx_jax.envs.bench_presets:BENCH"
    return FamilyEntry(f"pgx_jax.envs.{module}", maker, extra, summary, presets=presets)


FAMILIES: Registry[FamilyEntry] = Registry(
    "environment",
    {
        "cartpole": FamilyEntry(
            "pgx_jax.envs.cartpole",
            "cartpole",
            "run",
            "CartPole with varied gravity, masses, length and force (gymnax)",
            presets="pgx_jax.envs.cartpole_presets:NATURAL",
        ),
        "cartpole-planted": FamilyEntry(
            "pgx_jax.envs.cartpole",
            "cartpole_planted",
            "run",
            "CartPole in three known groups: normal, inverted, long and heavy",
            presets="pgx_jax.envs.cartpole_presets:PLANTED",
        ),
        "lunarlander": FamilyEntry(
            "pgx_jax.envs.lunarlander",
            "lunarlander",
            "lunarlander",
            "LunarLander-v3 with varied gravity, wind, turbulence and engine",
            ("gymnasium", "gymnasium-async"),
            "PRESETS",
        ),
        "highway": FamilyEntry(
            "pgx_jax.envs.highway",
            "highway",
            "highway",
            "highway-fast-v0: traffic, lanes, conflicting reward weights",
            ("envpool", "highway-env", "highway-env-async"),
            "PRESETS",
        ),
        "metaworld-mt10": FamilyEntry(
            "pgx_jax.envs.metaworld.families",
            "metaworld_mt10",
            "metaworld",
            "Meta-World's ten MT10 tasks, 50 goals each; judged by success",
            ("envpool", "metaworld"),
            "pgx_jax.envs.metaworld.presets:MT10",
        ),
        "metaworld-mt50": FamilyEntry(
            "pgx_jax.envs.metaworld.families",
            "metaworld_mt50",
            "metaworld",
            "Meta-World's fifty MT50 tasks, 50 goals each; judged by success",
            ("envpool", "metaworld"),
            "pgx_jax.envs.metaworld.presets:MT50",
        ),
        "brax-halfcheetah": FamilyEntry(
            "pgx_jax.envs.brax.families",
            "brax_halfcheetah",
            "brax",
            "brax half-cheetah with varied physics and target speed",
            _BRAX_BACKENDS,
            "pgx_jax.envs.brax.presets:HALFCHEETAH",
        ),
        "brax-ant": FamilyEntry(
            "pgx_jax.envs.brax.families",
            "brax_ant",
            "brax",
            "brax ant with varied physics and target direction",
            _BRAX_BACKENDS,
            "pgx_jax.envs.brax.presets:ANT",
        ),
        "lunarlander-goal": FamilyEntry(
            "pgx_jax.envs.lunarlander_goal",
            "lunarlander_goal",
            "lunarlander",
            "LunarLander-v3 with a hidden place to land",
            ("gymnasium", "gymnasium-async"),
            "pgx_jax.envs.lunarlander:PRESETS",
        ),
        "brax-halfcheetah-direction": FamilyEntry(
            "pgx_jax.envs.brax.directions",
            "brax_halfcheetah_direction",
            "brax",
            "half-cheetah, forwards or backwards: two known groups",
            _BRAX_BACKENDS,
            "pgx_jax.envs.brax.presets:HALFCHEETAH",
        ),
        "brax-halfcheetah-velocity": FamilyEntry(
            "pgx_jax.envs.brax.directions",
            "brax_halfcheetah_velocity",
            "brax",
            "half-cheetah with a hidden target velocity",
            _BRAX_BACKENDS,
            "pgx_jax.envs.brax.presets:HALFCHEETAH",
        ),
        "brax-ant-direction": FamilyEntry(
            "pgx_jax.envs.brax.directions",
            "brax_ant_direction",
            "brax",
            "ant with a hidden direction to run in",
            _BRAX_BACKENDS,
            "pgx_jax.envs.brax.presets:ANT",
        ),
        "cartpole-sign": _bench(
            "cartpole_variants:cartpole_sign",
            "as cartpole, the force's sign random: two known groups",
        ),
        "cartpole-goal": _bench(
            "cartpole_goal:cartpole_goal", "CartPole paid for the cart at a hidden place"
        ),
        "cartpole-identical": _bench(
            "cartpole_variants:cartpole_identical", "copies of CartPole: one group, nothing to find"
        ),
        "navigation": _bench(
            "navigation:navigation", "a point that moves to a hidden goal in the plane"
        ),
        "direction": _bench(
            "direction:direction", "a velocity in the plane, paid along a hidden direction"
        ),
        "direction-narrow": _bench(
            "direction:direction_narrow", "as direction, all directions near one: one group"
        ),
        "pendulum": _bench(
            "pendulum:pendulum", "Pendulum with varied gravity, length and torque (gymnax)"
        ),
        "pendulum-sign": _bench(
            "pendulum:pendulum_sign", "as pendulum, the torque's sign random: two known groups"
        ),
        "xland-rules": _bench(
            "xland_rules:xland_rules",
            "XLand-MiniGrid, a hidden rule: four known groups",
            "xminigrid",
        ),
    },
)
"""Families by name; ``FAMILIES.register(name, entry)`` adds one."""

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

    Args:
        name: a key of ``FAMILIES``, ``gymnax:NAME``, ``gymnasium:ID``, or ``MODULE:NAME`` for an
            entry or a maker in an importable module.

    Returns:
        The entry and the name, "" for a family by itself.

    Raises:
        ValueError: an unknown name (the nearest one is suggested), or nothing of that kind there.
    """
    for prefix, entry in GENERIC.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return entry, name.removeprefix(prefix)
    if name in FAMILIES:
        return FAMILIES[name], ""
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        choice: Any = FAMILIES.find(name)
        if isinstance(choice, FamilyEntry):
            return choice, ""
        if callable(choice):
            maker: Any = choice
            summary = (maker.__doc__ or "").strip().partition("\n")[0]
            return FamilyEntry(maker=maker, summary=summary), ""
        raise ValueError(f'environment "{name}" is neither a FamilyEntry nor a function')
    if re.search(r"[A-Z].*-v\d+$", name):
        raise ValueError(
            f'unknown environment "{name}"; did you mean "gymnasium:{name}" or '
            f'"gymnax:{name}"? pgx-jax list names the others'
        )
    known = [*FAMILIES, *(f"{prefix}NAME" for prefix in GENERIC)]
    raise ValueError(unknown_name("environment", name, known))


def presets_of(name: str) -> dict[str, dict[str, Any]]:
    """The presets of an environment; imports neither its packages nor JAX for our own families.

    Args:
        name: as in ``find_family``.

    Returns:
        Settings of a run by name, at least "smoke", "default" and "paper"; PPO's are a dict
        under "ppo". A copy.

    Raises:
        ValueError: an unknown name (the nearest one is suggested).
    """
    return complete_presets(find_family(name)[0].find_presets())


def check_family(
    name: str,
    *,
    backend: str | None = None,
    ranges: Sequence[str] = (),
    task_file: str | None = None,
    identity: Any = None,
) -> None:
    """Raise ValueError where these options do not go together; makes nothing."""
    entry, library_name = find_family(name)
    # Before the environment's packages, which may be missing.
    parse_ranges(ranges)
    if backend is not None and backend not in entry.backends:
        if not entry.backends:
            raise ValueError(f'"{name}" runs in JAX and has no backend to choose')
        raise ValueError(unknown_name(f"backend of {name}", backend, entry.backends))
    if not library_name and (ranges or task_file):
        raise ValueError(
            f'"{name}" has its published tasks; ranges and a task file are for gymnax:NAME and '
            "gymnasium:ID"
        )
    if ranges and task_file:
        raise ValueError("ranges and a task file both say what varies; give one of them")
    if isinstance(identity, str) and identity not in IDENTITIES:
        raise ValueError(unknown_name("identity", identity, IDENTITIES))


def make_family(
    name: str,
    *,
    num_tasks: int = 10,
    num_test_tasks: int = 50,
    seed: int = 0,
    backend: str | None = None,
    ranges: Sequence[str] = (),
    task_file: str | None = None,
    identity: Any = None,
) -> TaskFamily:
    """The task family of that name.

    Args:
        name: as in ``find_family``.
        num_tasks: n, source tasks.
        num_test_tasks: held-out test tasks.
        seed: of the tasks, not of the training.
        backend: what runs the environments; None takes the family's default.
        ranges: what varies in a generic family, such as "gravity=5:20".
        task_file: Python file that says so instead.
        identity: what policies see of their task, as in ``with_identity``; None takes the
            family's default.

    Returns:
        The family.

    Raises:
        ValueError: an unknown name (the nearest one is suggested), or options that do not fit.
        ImportError: a package is missing (the pip command is named).
    """
    check_family(name, backend=backend, ranges=ranges, task_file=task_file, identity=identity)
    entry, library_name = find_family(name)
    options: dict[str, Any] = {"num_tasks": num_tasks, "num_test_tasks": num_test_tasks}
    options["seed"] = seed
    if entry.backends:
        options["backend"] = backend
    try:
        maker = entry.find_maker()
        if library_name:
            family = maker(library_name, _varied(ranges, task_file), **options)
        else:
            family = maker(**options)
    except ImportError as error:
        # Which extra holds the package is known here, not where the import failed.
        missing = error.name or getattr(error.__cause__, "name", None)
        if missing is None or missing.startswith("pgx_jax"):
            raise
        raise ImportError(
            f'"{name}" needs {missing}: pip install "pgx_jax[{entry.extra}]"', name=missing
        ) from error
    return with_identity(family, family.default_identity if identity is None else identity)


def _varied(ranges: Sequence[str], task_file: str | None) -> Any:
    """What varies in a generic family, as its maker takes it."""
    from pgx_jax.envs.parameters import load_task_file

    return load_task_file(task_file) if task_file else parse_ranges(ranges)
