"""What there is to run, as lines of text that a reader can scan."""

import shutil
import textwrap
from collections.abc import Iterable

from pgx_jax.envs.families import (
    FAMILIES,
    GENERIC,
    FamilyEntry,
    find_family,
    presets_of,
    unknown_name,
)

_PRESETS = {
    "smoke": "everything once, small; under 4 minutes; the figures mean nothing",
    "default": "up to 8192 transitions a task; 3 to 60 minutes on 2 cores",
    "paper": "2048 transitions a task, as in the paper",
}
_SCORES = {
    "rollout": "returns of the adapted policies, same random numbers for all (default)",
    "off_policy": "importance-weighted advantages on held-out transitions",
    "surrogate": "negative logistic loss on held-out transitions",
    "linearised": "first-order change of the objective on held-out transitions",
}
_SETTINGS = (
    *("meta_steps", "num_steps", "dim", "num_subsets", "subset_size", "score_episodes"),
    "group_steps",
)


def overview() -> list[str]:
    """All environments, presets and scores, one line each."""
    entries = [*FAMILIES.items(), ("gymnax:NAME", GENERIC["gymnax:"])]
    entries.append(("gymnasium:ID", GENERIC["gymnasium:"]))
    rows = [("environment", "extra", "tasks")]
    rows += [(name, entry.extra, entry.summary) for name, entry in entries]
    return [
        *_columns(rows),
        "",
        'An extra is installed by pip install "pgx_jax[EXTRA]".',
        "",
        *_columns([("--preset", ""), *_PRESETS.items()]),
        "",
        *_columns([("--score", ""), *_SCORES.items()]),
        "",
        "A run compares PolicyGradEx groups, at equal total environment steps, with one policy for",
        "all tasks, one with k times the parameters, random groups, groups by gradient similarity.",
        "",
        "pgx-jax list ENVIRONMENT      its backends, and its settings by preset",
        "pgx-jax list gymnax           names of gymnax's environments; gymnasium likewise",
        "pgx-jax list gymnax:NAME      parameters that --range can vary; gymnasium:ID likewise",
    ]


def details(name: str) -> list[str]:
    """What there is to know of one environment, or the names that a library has.

    Args:
        name: as in ``pgx-jax run``, or "gymnax" or "gymnasium".

    Returns:
        Lines.

    Raises:
        ValueError: an unknown name (the nearest one is suggested).
        ImportError: a package is missing (the pip command is named).
    """
    library = name.removesuffix(":NAME").removesuffix(":ID").removesuffix(":")
    if f"{library}:" in GENERIC:
        return _names_of(library)
    if name not in FAMILIES and ":" not in name:
        raise ValueError(unknown_name("environment", name, [*FAMILIES, "gymnax", "gymnasium"]))
    entry, own_name = find_family(name)
    lines = [
        f"{name}: {entry.summary}",
        f'extra: pip install "pgx_jax[{entry.extra}]"',
    ]
    if entry.backends:
        others = ", ".join(entry.backends[1:])
        lines.append(f"--backend: {entry.backends[0]} (default), {others}")
    if own_name:
        lines += _parameters_of(name, own_name)
    return [*lines, "", *_preset_table(name)]


def _names_of(library: str) -> list[str]:
    entry = GENERIC[f"{library}:"]
    try:
        if library == "gymnax":
            import gymnax

            names = list(gymnax.registered_envs)
        else:
            import gymnasium

            names = sorted(one for one in gymnasium.registry if "/" not in one)
    except ImportError as error:
        raise _missing(library, entry, error) from error
    return [f"pgx-jax run {library}:NAME, with one of", *_wrapped(names)]


def _parameters_of(name: str, own_name: str) -> list[str]:
    from pgx_jax.envs.parameters import REQUIRED
    from pgx_jax.envs.ranges import shown

    try:
        if name.startswith("gymnax:"):
            from pgx_jax.envs.gymnax_families import gymnax_parameters

            parameters = gymnax_parameters(own_name)
        else:
            from pgx_jax.envs.host.gymnasium_maker import find_spec, gymnasium_parameters

            parameters, _ = gymnasium_parameters(find_spec(own_name))
    except ImportError as error:
        raise _missing(name, find_family(name)[0], error) from error
    varied = [
        known if one.default is REQUIRED else f"{known} = {shown(one.default, 6)}"
        for known, one in parameters.items()
        if not one.refusal
    ]
    return ["--range can vary, with defaults:", *_wrapped(varied or ["nothing"])]


def _missing(name: str, entry: FamilyEntry, error: ImportError) -> ImportError:
    return ImportError(
        f'"{name}" needs {error.name or "another package"}: pip install "pgx_jax[{entry.extra}]"'
    )


def _preset_table(name: str) -> list[str]:
    """Settings by preset; they are options of the same name."""
    from pgx_jax.experiments.config import make_config

    configs = {preset: make_config(name, preset) for preset in presets_of(name)}
    rows = [("option", *configs)]
    for field in _SETTINGS:
        values = [f"{getattr(config, field):,}" for config in configs.values()]
        rows.append((f"--{field.replace('_', '-')}", *values))
    return _columns(rows)


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows with their cells under one another."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _wrapped(words: Iterable[str]) -> list[str]:
    """Words that do not break, separated by commas, in lines that fit the terminal."""
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    # No-break spaces keep "name = value" in one line.
    text = ", ".join(word.replace(" ", "\N{NO-BREAK SPACE}") for word in words)
    lines = textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
