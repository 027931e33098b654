"""Task families by name."""

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import NamedTuple

from pgx_jax.envs.base import TaskFamily


class FamilyEntry(NamedTuple):
    """Where a family is made, and what a newcomer needs to know of it.

    Attributes:
        module: module that holds the maker; imported when the family is asked for.
        maker: function ``(num_tasks, num_test_tasks, seed) -> TaskFamily``.
        extra: pip extra that it needs.
        summary: one line.
    """

    module: str
    maker: str
    extra: str
    summary: str


FAMILIES: dict[str, FamilyEntry] = {
    "cartpole": FamilyEntry(
        "pgx_jax.envs.cartpole",
        "cartpole",
        "run",
        "CartPole with varied gravity, masses, pole length and force (gymnax)",
    ),
    "cartpole-planted": FamilyEntry(
        "pgx_jax.envs.cartpole",
        "cartpole_planted",
        "run",
        "CartPole in three groups known in advance: normal, inverted, long and heavy",
    ),
}


def make_family(
    name: str, *, num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0
) -> TaskFamily:
    """The task family of that name.

    Args:
        name: a key of ``FAMILIES``.
        num_tasks: n, source tasks.
        num_test_tasks: held-out test tasks.
        seed: of the tasks, not of the training.

    Returns:
        The family.

    Raises:
        ValueError: an unknown name (the nearest one is suggested).
        ImportError: a package is missing (the pip command is named).
    """
    if name not in FAMILIES:
        raise ValueError(unknown_name("environment", name, FAMILIES))
    entry = FAMILIES[name]
    maker: Callable[..., TaskFamily] = getattr(import_module(entry.module), entry.maker)
    return maker(num_tasks=num_tasks, num_test_tasks=num_test_tasks, seed=seed)


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name, with the nearest known one."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f'; did you mean "{nearest[0]}"?' if nearest else "."
    return f'unknown {what} "{name}"{hint} Known: {", ".join(names)}'
