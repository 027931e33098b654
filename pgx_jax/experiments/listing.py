"""What there is to run, as tables that a reader can scan."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgx_jax.envs.families import FAMILIES, GENERIC, FamilyEntry, find_family, presets_of
from pgx_jax.experiments.leaves import leaf_values
from pgx_jax.experiments.studies import STUDIES
from pgx_jax.registry import unknown_name

_PRESETS = {
    "smoke": "everything once, small; under 4 minutes; the figures mean nothing",
    "default": "up to 8192 transitions a task; 3 to 60 minutes on 2 cores",
    "paper": "2048 transitions a task, as in the paper",
}
_SCORES = {
    "rollout": "returns of the adapted policies, same random numbers for all (default)",
    "off_policy": "importance-weighted advantages on the scoring half",
    "surrogate": "negative logistic loss on the scoring half of the transitions",
    "linearised": "first-order change of the objective on the scoring half",
}
_SETTINGS = (
    *("meta_steps", "num_steps", "dim", "num_subsets", "subset_size", "score_episodes"),
    "group_steps",
)


_COMPARISON = (
    "Compared at equal steps: PolicyGradEx, one policy, one k times as large, random and gradient "
    "groups."
)
_COMMANDS = {
    "pgx-jax list ENVIRONMENT": "its backends, and its settings by preset",
    "pgx-jax list gymnax": "names of gymnax's environments; gymnasium likewise",
    "pgx-jax list gymnax:NAME": "parameters that --range can vary; gymnasium:ID likewise",
}


def overview() -> RenderableType:
    """All environments, presets, scores and studies, one line each."""
    generic = {"gymnax:NAME": GENERIC["gymnax:"], "gymnasium:ID": GENERIC["gymnasium:"]}
    entries = {**FAMILIES, **generic}.items()
    rows = [(name, entry.extra, entry.summary) for name, entry in entries]
    return _paragraphs(
        _table(("environment", "extra", "tasks"), rows),
        Text('An extra is installed by pip install "pgx_jax[EXTRA]".'),
        _table(("--preset", ""), _PRESETS.items()),
        _table(("--score", ""), _SCORES.items()),
        Text(_COMPARISON),
        _table(("pgx-jax reproduce", ""), [(name, STUDIES[name].what) for name in STUDIES]),
        _table(("", ""), _COMMANDS.items()),
    )


def details(name: str) -> RenderableType:
    """What there is to know of one environment, or the names that a library has.

    Args:
        name: as in ``pgx-jax run``, or "gymnax" or "gymnasium".

    Returns:
        What rich can print.

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
    lines: list[RenderableType] = [
        Text(f"{name}: {entry.summary}"),
        Text(f'extra: pip install "pgx_jax[{entry.extra}]"'),
    ]
    if entry.backends:
        others = ", ".join(entry.backends[1:])
        lines.append(Text(f"--backend: {entry.backends[0]} (default), {others}"))
    if own_name:
        parameters = _parameters_of(name, own_name)
        lines += [Text("--range can vary, with defaults:"), _words(parameters or ["nothing"])]
    return _paragraphs(Group(*lines), _preset_table(name))


def _names_of(library: str) -> RenderableType:
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
    return Group(Text(f"pgx-jax run {library}:NAME, with one of"), _words(names))


def _parameters_of(name: str, own_name: str) -> list[str]:
    """What can vary, each with its default, written as for --range."""
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
    return [
        known if one.default is REQUIRED else f"{known}={shown(one.default, 6)}"
        for known, one in parameters.items()
        if not one.refusal
    ]


def _missing(name: str, entry: FamilyEntry, error: ImportError) -> ImportError:
    return ImportError(
        f'"{name}" needs {error.name or "another package"}: pip install "pgx_jax[{entry.extra}]"'
    )


def _preset_table(name: str) -> Table:
    """Settings by preset; they are options of the same name."""
    from pgx_jax.experiments.config import make_config

    presets = {preset: leaf_values(make_config(name, preset)) for preset in presets_of(name)}
    rows = []
    for setting in _SETTINGS:
        values = [config[setting] for config in presets.values()]
        cells = ["automatic" if value is None else f"{value:,}" for value in values]
        rows.append((f"--{setting.replace('_', '-')}", *cells))
    return _table(("option", *presets), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """Cells under one another; only those of the last column wrap."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(head))
    for place, name in enumerate(head, 1):
        table.add_column(name, no_wrap=place < len(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _words(words: Iterable[str]) -> Padding:
    """Words separated by commas, several in a line, none of them cut."""
    return Padding(Text(", ".join(words), overflow="fold"), (0, 0, 0, 2), expand=False)


def _paragraphs(*parts: RenderableType) -> Group:
    """Parts with an empty line between them."""
    spaced = [one for part in parts for one in (Text(), part)]
    return Group(*spaced[1:])
